//! Ceilings as bars that fill. Never decides whether a ceiling sheds: a full bar is what the daemon reports.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Row, Table};

use super::super::picture::CeilingRow;
use super::super::screen::Focus;
use super::super::text::{plain, short};
use super::{Scene, Theme, WIDE, section, window};

const PARTS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: Scene<'_>) {
    let focused = scene.screen.focus == Focus::Ceilings;
    let block = section("ceilings", focused, scene.theme);
    let all = &scene.picture.ceilings;
    if all.is_empty() {
        let inner = block.inner(area);
        frame.render_widget(block, area);
        frame.render_widget(Line::styled("none: everything is let through", scene.theme.quiet()), inner);
        return;
    }
    let bar_width = if area.width >= WIDE { 40 } else { 16 };
    let height = usize::from(area.height.saturating_sub(1));
    let rows = window(all.len(), scene.screen.ceiling, height).map(|place| {
        let selected = focused && place == scene.screen.ceiling;
        row(&all[place], bar_width, scene.theme).style(if selected {
            scene.theme.selected()
        } else {
            Style::new()
        })
    });
    let widths = [
        Constraint::Length(12),
        Constraint::Length(10),
        Constraint::Length(bar_width),
        Constraint::Length(4),
        Constraint::Length(13),
        Constraint::Min(8),
    ];
    frame.render_widget(Table::new(rows, widths).column_spacing(1).block(block), area);
}

fn row(ceiling: &CeilingRow, bar_width: u16, theme: Theme) -> Row<'_> {
    let share = ceiling.share();
    let limit = ceiling.limit as f64;
    Row::new([
        Cell::from(plain(&ceiling.name, 12)),
        Cell::from(unit(&ceiling.measure)),
        Cell::from(Span::styled(bar(share, bar_width), theme.fill(share))),
        Cell::from(format!("{:>3.0}%", share * 100.0)),
        Cell::from(format!("{:>6}/{:<6}", short(ceiling.used), short(limit))),
        Cell::from(Span::styled(plain(&ceiling.notes.join(", "), 60), theme.quiet())),
    ])
}

/// The limit's key, shortened to fit.
fn unit(measure: &str) -> String {
    let word = match measure {
        "requests_per_second" => "requests/s",
        "concurrent_requests" => "in flight",
        "connections_per_second" => "NIC SYN/s",
        "packets_per_second" => "NIC pkt/s",
        "bits_per_second" => "NIC bit/s",
        other => other,
    };
    plain(word, 10)
}

/// A bar of so many columns with eighths of a column at its end.
pub(super) fn bar(share: f64, width: u16) -> String {
    let eighths = (share.clamp(0.0, 1.0) * f64::from(width) * 8.0).round();
    // At most 8 × a terminal's width, and not negative.
    let eighths = eighths as usize;
    let (full, part) = (eighths / 8, eighths % 8);
    let mut drawn = "█".repeat(full);
    if full < usize::from(width) {
        drawn.push(if part == 0 { '·' } else { PARTS[part] });
        drawn.extend(std::iter::repeat_n('·', usize::from(width) - full - 1));
    }
    drawn
}
