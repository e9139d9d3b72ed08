//! The last events, newest at the bottom. Never more than fit.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::picture::EventLine;
use super::super::text::plain;
use super::{Scene, Theme, section};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: Scene<'_>) {
    let room = usize::from(area.height.saturating_sub(1));
    let shown = &scene.events[scene.events.len().saturating_sub(room)..];
    let lines: Vec<_> = shown.iter().map(|event| line(event, usize::from(area.width), scene.theme)).collect();
    frame.render_widget(Paragraph::new(lines).block(section("events", false, scene.theme)), area);
}

fn line(event: &EventLine, width: usize, theme: Theme) -> Line<'static> {
    let kind = match event.kind.as_str() {
        "shed" | "failover" => theme.warn(),
        _ => theme.quiet(),
    };
    Line::from(vec![
        Span::styled(format!("{} ", plain(&event.at, 12)), theme.quiet()),
        Span::styled(format!("{:<9}", plain(&event.kind, 9)), kind),
        Span::raw(plain(&event.text, width.saturating_sub(19))),
    ])
}
