//! Colours of the live view, or none. Never looks at the environment.

use ratatui::style::{Color, Modifier, Style};

/// How things are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Theme {
    /// Colours are wanted; without them, weight and inversion carry the meaning.
    pub colour: bool,
}

impl Theme {
    fn hue(self, colour: Color, else_style: Style) -> Style {
        if self.colour { Style::new().fg(colour) } else { else_style }
    }

    /// All is well.
    #[must_use]
    pub fn good(self) -> Style {
        self.hue(Color::Green, Style::new())
    }

    /// Worth a look.
    #[must_use]
    pub fn warn(self) -> Style {
        self.hue(Color::Yellow, Style::new().add_modifier(Modifier::BOLD))
    }

    /// Worth getting up.
    #[must_use]
    pub fn bad(self) -> Style {
        self.hue(Color::Red, Style::new().add_modifier(Modifier::BOLD | Modifier::REVERSED))
    }

    /// Headings and frames.
    #[must_use]
    pub fn quiet(self) -> Style {
        self.hue(Color::DarkGray, Style::new().add_modifier(Modifier::DIM))
    }

    /// Curves.
    #[must_use]
    pub fn curve(self) -> Style {
        self.hue(Color::Cyan, Style::new())
    }

    /// Titles.
    #[must_use]
    pub fn title(self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }

    /// The selected row.
    #[must_use]
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// How full something is.
    #[must_use]
    pub fn fill(self, share: f64) -> Style {
        match share {
            share if share >= 0.95 => self.bad(),
            share if share >= 0.75 => self.warn(),
            _ => self.good(),
        }
    }
}
