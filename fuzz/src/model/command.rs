//! Commands out of bytes: any bytes make some. Never one that a server would not frame as it is meant.

/// How a value is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas { fits: bool },
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Store {
        verb: Verb,
        value: Vec<u8>,
        flags: u32,
    },
    Delete,
    Count {
        up: bool,
        by: u64,
    },
    /// Of the key and of some more.
    Get {
        more: Vec<Vec<u8>>,
    },
    Touch,
    Flush,
    /// `version`, `mn`, a no-op.
    Nothing,
    Nonsense,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) key: Vec<u8>,
    pub(crate) ask: Ask,
    /// No answer is wanted, or none to what is expected.
    pub(crate) quiet: bool,
    /// The server is out of memory, and has the old value no more.
    pub(crate) fails: Option<bool>,
    /// Another form of the same.
    pub(crate) other: bool,
}

/// Bytes that are taken from the front; 0 behind the end.
struct Source<'a>(&'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&byte, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        byte
    }

    fn bytes(&mut self, most: u8) -> Vec<u8> {
        let count = usize::from(self.byte() % (most + 1)).min(self.0.len());
        let (bytes, rest) = self.0.split_at(count);
        self.0 = rest;
        bytes.to_vec()
    }

    fn key(&mut self) -> Vec<u8> {
        match self.byte() % 8 {
            6 => vec![b'k'; 250],
            7 => b"END".to_vec(),
            number => vec![b'a' + number],
        }
    }
}

impl Command {
    /// The commands in `bytes`.
    pub(crate) fn all(bytes: &[u8]) -> Vec<Self> {
        let (mut source, mut all) = (Source(bytes), Vec::new());
        while !source.0.is_empty() && all.len() < 64 {
            all.push(Self::next(&mut source));
        }
        all
    }

    fn next(source: &mut Source<'_>) -> Self {
        let (which, switches) = (source.byte(), source.byte());
        let key = source.key();
        let verb = match which % 16 {
            0..=2 => Some(Verb::Set),
            3 => Some(Verb::Add),
            4 => Some(Verb::Replace),
            5 => Some(Verb::Append),
            6 => Some(Verb::Prepend),
            7 => Some(Verb::Cas { fits: switches & 16 != 0 }),
            _ => None,
        };
        let ask = match (verb, which % 16) {
            (Some(verb), _) => Ask::Store { verb, value: source.bytes(40), flags: u32::from(which / 16) },
            (None, 8 | 9) => Ask::Delete,
            (None, 10) => Ask::Count { up: switches & 16 != 0, by: source.byte().into() },
            (None, 11 | 12) => Ask::Get {
                more: (0..source.byte() % 3).map(|_| source.key()).filter(|more| *more != key).collect(),
            },
            (None, 13) => Ask::Touch,
            (None, 14) if switches & 16 != 0 => Ask::Flush,
            (None, 14) => Ask::Nothing,
            (None, _) => Ask::Nonsense,
        };
        let fails = (switches & 6 == 6 && verb.is_some()).then_some(switches & 8 != 0);
        Self { key, ask, quiet: switches & 1 != 0, fails, other: switches & 32 != 0 }
    }

    /// Whether it asks for a change.
    pub(crate) fn writes(&self) -> bool {
        matches!(self.ask, Ask::Store { .. } | Ask::Delete | Ask::Count { .. } | Ask::Flush)
    }
}
