//! What the operator has selected, typed and still has to confirm: keys come in, at most one act goes out. Never draws and never
//! carries an act out.

use super::picture::Picture;

/// What the operator asked for, after a confirmation where it changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Act {
    /// Leave the view.
    Quit,
    /// Put a region into failover, or take it out.
    Failover {
        /// Its name.
        region: String,
        /// Into.
        on: bool,
    },
    /// Set one limit.
    SetCeiling {
        /// The ceiling.
        name: String,
        /// The limit's key.
        measure: String,
        /// As typed: a number, or a rate such as `2Gbit`.
        value: String,
    },
    /// Give a ceiling its values from the file back.
    ResetCeiling {
        /// The ceiling.
        name: String,
    },
}

/// A key, as far as the view knows any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A character.
    Char(char),
    /// Up.
    Up,
    /// Down.
    Down,
    /// Between regions and ceilings.
    Tab,
    /// Enter.
    Enter,
    /// Escape.
    Escape,
    /// Backspace.
    Backspace,
    /// Control-C.
    Interrupt,
}

/// The list that keys act on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    /// Regions.
    #[default]
    Regions,
    /// Ceilings.
    Ceilings,
}

/// What is on top of the picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dialog {
    /// The keys.
    Help,
    /// A limit's new value is being typed.
    Typing {
        /// The ceiling.
        name: String,
        /// The limit's key.
        measure: String,
        /// In force.
        old: u64,
        /// Typed so far.
        value: String,
    },
    /// An act waits for `y`.
    Confirm {
        /// What would be done.
        act: Act,
        /// The same, in words.
        question: String,
    },
}

/// The view's own state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// The list that keys act on.
    pub focus: Focus,
    /// Selected region.
    pub region: usize,
    /// Selected ceiling row.
    pub ceiling: usize,
    /// What is on top.
    pub dialog: Option<Dialog>,
    /// What came of the last act; shown until the next key.
    pub message: Option<String>,
    /// The picture stands still.
    pub paused: bool,
}

/// A limit is at most a number with digits, separators and a unit.
const MAX_TYPED: usize = 24;

impl Screen {
    /// Takes a key; says what is to be done, if anything.
    pub fn key(&mut self, key: Key, picture: &Picture) -> Option<Act> {
        self.message = None;
        if key == Key::Interrupt {
            return Some(Act::Quit);
        }
        match self.dialog.take() {
            Some(dialog) => self.in_dialog(dialog, key),
            None => self.in_picture(key, picture),
        }
    }

    /// Keeps selections inside a picture that may have shrunk.
    pub fn fit(&mut self, picture: &Picture) {
        self.region = self.region.min(picture.regions.len().saturating_sub(1));
        self.ceiling = self.ceiling.min(picture.ceilings.len().saturating_sub(1));
    }

    fn in_picture(&mut self, key: Key, picture: &Picture) -> Option<Act> {
        self.fit(picture);
        match key {
            Key::Char('q') | Key::Escape => return Some(Act::Quit),
            Key::Char('?' | 'h') => self.dialog = Some(Dialog::Help),
            Key::Char('p' | ' ') => self.paused = !self.paused,
            Key::Tab => self.focus = self.other_list(),
            Key::Up | Key::Char('k') => self.step(false, picture),
            Key::Down | Key::Char('j') => self.step(true, picture),
            Key::Char('f') => self.ask_failover(picture),
            Key::Char('c') | Key::Enter => self.ask_value(picture),
            Key::Char('r') => self.ask_reset(picture),
            _ => {}
        }
        None
    }

    fn in_dialog(&mut self, dialog: Dialog, key: Key) -> Option<Act> {
        match (dialog, key) {
            (Dialog::Confirm { act, .. }, Key::Char('y' | 'Y')) => return Some(act),
            (Dialog::Help | Dialog::Confirm { .. }, _) | (Dialog::Typing { .. }, Key::Escape) => {}
            (Dialog::Typing { name, measure, old, value }, key) => {
                self.dialog = Some(typed(name, measure, old, value, key));
            }
        }
        None
    }

    fn other_list(&self) -> Focus {
        match self.focus {
            Focus::Regions => Focus::Ceilings,
            Focus::Ceilings => Focus::Regions,
        }
    }

    fn step(&mut self, down: bool, picture: &Picture) {
        let (place, count) = match self.focus {
            Focus::Regions => (&mut self.region, picture.regions.len()),
            Focus::Ceilings => (&mut self.ceiling, picture.ceilings.len()),
        };
        *place = if down { (*place + 1).min(count.saturating_sub(1)) } else { place.saturating_sub(1) };
    }

    fn ask_failover(&mut self, picture: &Picture) {
        let Some(region) = picture.regions.get(self.region) else { return };
        let on = region.failover.is_none();
        let question = match (on, region.own) {
            (true, true) => format!(
                "Put {} (this host's own region) into failover? Every request is handled here.",
                region.name
            ),
            (true, false) => format!("Put {} into failover? Its clients are handled here.", region.name),
            (false, _) => format!("Take {} out of failover?", region.name),
        };
        self.dialog =
            Some(Dialog::Confirm { act: Act::Failover { region: region.name.clone(), on }, question });
    }

    fn ask_value(&mut self, picture: &Picture) {
        let Some(row) = picture.ceilings.get(self.ceiling) else { return };
        self.focus = Focus::Ceilings;
        let (name, measure) = (row.name.clone(), row.measure.clone());
        self.dialog = Some(Dialog::Typing { name, measure, old: row.limit, value: String::new() });
    }

    fn ask_reset(&mut self, picture: &Picture) {
        let Some(row) = picture.ceilings.get(self.ceiling) else { return };
        self.focus = Focus::Ceilings;
        let question = format!("Give ceiling {} its values from the file back?", row.name);
        self.dialog = Some(Dialog::Confirm { act: Act::ResetCeiling { name: row.name.clone() }, question });
    }
}

fn typed(name: String, measure: String, old: u64, mut value: String, key: Key) -> Dialog {
    match key {
        Key::Char(c) if (c.is_ascii_alphanumeric() || c == '_') && value.len() < MAX_TYPED => value.push(c),
        Key::Backspace => {
            value.pop();
        }
        Key::Enter if !value.is_empty() => {
            let question = format!("Set {name} {measure} from {old} to {value}?");
            return Dialog::Confirm { act: Act::SetCeiling { name, measure, value }, question };
        }
        _ => {}
    }
    Dialog::Typing { name, measure, old, value }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn press(screen: &mut Screen, keys: &[Key]) -> Option<Act> {
        let picture = sample::picture();
        keys.iter().filter_map(|key| screen.key(*key, &picture)).last()
    }

    #[test]
    fn nothing_changes_without_a_confirmation() {
        for refusal in [Key::Char('n'), Key::Enter, Key::Escape, Key::Char('q'), Key::Tab] {
            let mut screen = Screen::default();
            assert_eq!(press(&mut screen, &[Key::Down, Key::Char('f'), refusal]), None, "{refusal:?}");
            assert_eq!(screen.dialog, None);
        }
    }

    #[test]
    fn failover_is_toggled_for_the_selected_region() {
        let mut screen = Screen::default();
        let act = press(&mut screen, &[Key::Down, Key::Char('f'), Key::Char('y')]);
        assert_eq!(
            act,
            Some(Act::Failover { region: "us-east-1".into(), on: false }),
            "it is in failover already"
        );
        let act = press(&mut screen, &[Key::Up, Key::Char('f'), Key::Char('y')]);
        assert_eq!(act, Some(Act::Failover { region: "eu-west-1".into(), on: true }));
    }

    #[test]
    fn a_limit_is_typed_corrected_and_confirmed() {
        let mut screen = Screen::default();
        let keys = "c80001".chars().map(Key::Char).chain([Key::Backspace, Key::Enter, Key::Char('y')]);
        let act = press(&mut screen, &keys.collect::<Vec<_>>());
        let wanted = Act::SetCeiling {
            name: "everyone".into(),
            measure: "requests_per_second".into(),
            value: "8000".into(),
        };
        assert_eq!(act, Some(wanted));
    }

    #[test]
    fn an_empty_value_is_not_taken_and_a_long_one_is_bounded() {
        let mut screen = Screen::default();
        press(&mut screen, &[Key::Char('c'), Key::Enter]);
        assert!(matches!(&screen.dialog, Some(Dialog::Typing { value, .. }) if value.is_empty()));
        press(&mut screen, &[Key::Char('9'); 100]);
        assert!(matches!(&screen.dialog, Some(Dialog::Typing { value, .. }) if value.len() == MAX_TYPED));
    }

    #[test]
    fn selections_stay_inside_and_an_empty_picture_asks_nothing() {
        let mut screen = Screen { focus: Focus::Ceilings, region: 9, ceiling: 9, ..Screen::default() };
        let empty = Picture::default();
        for key in [Key::Down, Key::Char('f'), Key::Char('c'), Key::Char('r'), Key::Up] {
            assert_eq!(screen.key(key, &empty), None);
            assert_eq!(screen.dialog, None, "{key:?}");
        }
        assert_eq!((screen.region, screen.ceiling), (0, 0));
    }

    #[test]
    fn control_c_leaves_from_anywhere() {
        let mut screen = Screen::default();
        assert_eq!(press(&mut screen, &[Key::Char('c'), Key::Interrupt]), Some(Act::Quit));
    }
}
