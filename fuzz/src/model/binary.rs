//! The binary protocol (memcached's doc/protocol-binary.txt), as clients write it and a server answers. Never authentication.

use super::{Ask, Command, Copy, Outcome, Verb};

const OK: u16 = 0;
const NOT_FOUND: u16 = 1;
const EXISTS: u16 = 2;
const NOT_STORED: u16 = 5;
const NOT_A_NUMBER: u16 = 6;
const UNKNOWN: u16 = 0x81;
const OUT_OF_MEMORY: u16 = 0x82;

/// Opcode in its loud and quiet forms.
fn opcode(command: &Command) -> u8 {
    let (loud, quiet) = match &command.ask {
        Ask::Store { verb: Verb::Set | Verb::Cas { .. }, .. } => (0x01, 0x11),
        Ask::Store { verb: Verb::Add, .. } => (0x02, 0x12),
        Ask::Store { verb: Verb::Replace, .. } => (0x03, 0x13),
        Ask::Store { verb: Verb::Append, .. } => (0x0e, 0x19),
        Ask::Store { verb: Verb::Prepend, .. } => (0x0f, 0x1a),
        Ask::Delete => (0x04, 0x14),
        Ask::Count { up: true, .. } => (0x05, 0x15),
        Ask::Count { up: false, .. } => (0x06, 0x16),
        Ask::Get { .. } if command.other => (0x0c, 0x0d),
        Ask::Get { .. } => (0x00, 0x09),
        Ask::Touch => (0x1c, 0x1c),
        Ask::Flush => (0x08, 0x18),
        Ask::Nothing => (0x0a, 0x0a),
        Ask::Nonsense => (0x2f, 0x2f),
    };
    if command.quiet { quiet } else { loud }
}

struct Packet<'a> {
    magic: u8,
    opcode: u8,
    status: u16,
    opaque: u32,
    cas: u64,
    extras: &'a [u8],
    key: &'a [u8],
    value: &'a [u8],
}

impl Packet<'_> {
    fn bytes(&self) -> Vec<u8> {
        let key = u16::try_from(self.key.len()).unwrap_or(0);
        let extras = u8::try_from(self.extras.len()).unwrap_or(0);
        let body = u32::try_from(self.extras.len() + self.key.len() + self.value.len()).unwrap_or(0);
        let mut bytes = vec![self.magic, self.opcode];
        bytes.extend_from_slice(&key.to_be_bytes());
        bytes.extend_from_slice(&[extras, 0]);
        bytes.extend_from_slice(&self.status.to_be_bytes());
        bytes.extend_from_slice(&body.to_be_bytes());
        bytes.extend_from_slice(&self.opaque.to_be_bytes());
        bytes.extend_from_slice(&self.cas.to_be_bytes());
        [&bytes, self.extras, self.key, self.value].concat()
    }
}

/// A packet.
pub(crate) fn request(command: &Command, cas: u64, opaque: u32) -> Vec<u8> {
    let mut extras = Vec::new();
    let mut value: &[u8] = &[];
    let mut key: &[u8] = &command.key;
    let mut packet_cas = 0;
    match &command.ask {
        Ask::Store { verb, value: stored, flags } => {
            value = stored;
            if !matches!(verb, Verb::Append | Verb::Prepend) {
                extras.extend_from_slice(&flags.to_be_bytes());
                extras.extend_from_slice(&[0; 4]);
            }
            if matches!(verb, Verb::Cas { .. }) {
                packet_cas = cas;
            }
        }
        Ask::Count { by, .. } => {
            extras.extend_from_slice(&by.to_be_bytes());
            extras.extend_from_slice(&[0; 8]);
            // Not to be made if it is not there.
            extras.extend_from_slice(&[0xff; 4]);
        }
        Ask::Touch => extras.extend_from_slice(&10u32.to_be_bytes()),
        Ask::Flush | Ask::Nothing | Ask::Nonsense => key = &[],
        Ask::Delete | Ask::Get { .. } => {}
    }
    let (magic, opcode) = (0x80, opcode(command));
    Packet { magic, opcode, status: 0, opaque, cas: packet_cas, extras: &extras, key, value }.bytes()
}

/// What the server says: quiet commands hear of failures alone, quiet retrievals of hits.
pub(crate) fn answer(command: &Command, outcome: &Outcome, copy: Option<&Copy>, opaque: u32) -> Vec<u8> {
    let status = match (&command.ask, outcome) {
        (Ask::Get { .. }, _) => {
            if copy.is_some() {
                OK
            } else {
                NOT_FOUND
            }
        }
        (_, Outcome::Done | Outcome::Number(_) | Outcome::Found(_)) => OK,
        (Ask::Store { verb: Verb::Add, .. }, Outcome::NotStored) | (_, Outcome::Exists) => EXISTS,
        (Ask::Store { verb: Verb::Replace, .. }, Outcome::NotStored) | (_, Outcome::NotFound) => NOT_FOUND,
        (_, Outcome::NotStored) => NOT_STORED,
        (_, Outcome::NotANumber) => NOT_A_NUMBER,
        (_, Outcome::Failed) => OUT_OF_MEMORY,
        (_, Outcome::Unknown) => UNKNOWN,
    };
    let retrieves = matches!(command.ask, Ask::Get { .. });
    let quiet = command.quiet && !matches!(command.ask, Ask::Touch | Ask::Nothing | Ask::Nonsense);
    if quiet && (status == OK) != retrieves {
        // A failure of a quiet write is told, a miss of a quiet retrieval is not.
        return Vec::new();
    }
    let (mut extras, mut key, mut value): (Vec<u8>, &[u8], Vec<u8>) = (Vec::new(), &[], Vec::new());
    match (outcome, copy) {
        (Outcome::Number(number), _) => value = number.to_be_bytes().to_vec(),
        (_, Some(copy)) if retrieves => {
            extras = copy.flags.to_be_bytes().to_vec();
            value.clone_from(&copy.value);
            if command.other {
                key = &command.key;
            }
        }
        _ if status != OK => value = b"Not found".to_vec(),
        _ => {}
    }
    let (magic, opcode) = (0x81, opcode(command));
    Packet { magic, opcode, status, opaque, cas: 1, extras: &extras, key, value: &value }.bytes()
}
