//! What lies on top of the picture: the keys, a value being typed, a question. Never acts on the answer.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Block, Clear, Paragraph, Wrap};

use super::super::screen::Dialog;
use super::super::text::plain;
use super::{Scene, Theme};

const KEYS: [&str; 9] = [
    "↑ ↓ j k    select",
    "Tab        regions or ceilings",
    "f          failover of the selected region, on or off",
    "c Enter    change the selected ceiling",
    "r          give it the file's values back",
    "p Space    pause",
    "q Escape   quit",
    "",
    "* this host's region. Every change asks first.",
];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: Scene<'_>) {
    let Some(dialog) = &scene.screen.dialog else { return };
    let (title, lines) = content(dialog, scene.theme);
    let height = u16::try_from(lines.len()).unwrap_or(area.height).saturating_add(3);
    let place = centred(area, 64, height);
    frame.render_widget(Clear, place);
    let block = Block::bordered().title(format!(" {title} ")).border_style(scene.theme.title());
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }).block(block), place);
}

fn content(dialog: &Dialog, theme: Theme) -> (&'static str, Vec<Line<'static>>) {
    match dialog {
        Dialog::Help => ("keys", KEYS.iter().map(|line| Line::raw(*line)).collect()),
        Dialog::Typing { name, measure, old, value } => {
            let asked = Line::raw(plain(&format!("{name} {measure}, now {old}:"), 200));
            let typed = Line::styled(format!("> {}_", plain(value, 24)), theme.title());
            (
                "new limit",
                vec![asked, typed, Line::styled("Enter to go on, Escape to leave it", theme.quiet())],
            )
        }
        Dialog::Confirm { question, .. } => {
            let asked = Line::raw(plain(question, 200));
            (
                "sure?",
                vec![asked, Line::raw(""), Line::styled("y does it, any other key does not", theme.warn())],
            )
        }
    }
}

fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    let (x, y) = ((area.width - width) / 2, (area.height - height) / 2);
    Rect::new(area.x + x, area.y + y, width, height)
}
