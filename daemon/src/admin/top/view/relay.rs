//! The relay: what waits, how late. Never shows a key.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};

use super::super::picture::RelayRow;
use super::super::text::{plain, short, span};
use super::{Scene, Theme, section};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: Scene<'_>) {
    let block = section("relay", false, scene.theme);
    if scene.picture.relay.is_empty() {
        let inner = block.inner(area);
        frame.render_widget(block, area);
        frame.render_widget(Line::styled("no pool", scene.theme.quiet()), inner);
        return;
    }
    let widths = [Constraint::Min(14), Constraint::Length(7), Constraint::Length(6), Constraint::Length(6)];
    let table = Table::new(scene.picture.relay.iter().map(|lane| row(lane, scene.theme)), widths)
        .header(Row::new(["pool → region", "pending", "oldest", "lag"]).style(scene.theme.quiet()))
        .column_spacing(1)
        .block(block);
    frame.render_widget(table, area);
}

fn row(lane: &RelayRow, theme: Theme) -> Row<'static> {
    let time = |value: Option<Duration>| value.map_or_else(|| "-".to_owned(), span);
    let name = plain(&format!("{} → {}", lane.pool, lane.region), 40);
    let style = if lane.trouble.is_some() { theme.bad() } else { theme.good() };
    let pending = lane.pending as f64;
    Row::new([
        Cell::from(Span::styled(name, style)),
        Cell::from(short(pending)),
        Cell::from(time(lane.oldest)),
        Cell::from(time(lane.lag)),
    ])
}
