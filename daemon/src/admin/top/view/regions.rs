//! The table of regions. Never sorts: the file's order is the operator's.

use ratatui::Frame;
use ratatui::layout::{Constraint, Rect};
use ratatui::style::Style;
use ratatui::text::Span;
use ratatui::widgets::{Cell, Row, Table};

use super::super::picture::RegionRow;
use super::super::screen::Focus;
use super::super::text::{plain, short};
use super::{Scene, Theme, WIDE, section, window};

const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: Scene<'_>) {
    let focused = scene.screen.focus == Focus::Regions;
    let curve = if area.width >= WIDE { 60 } else { 9 };
    let height = usize::from(area.height.saturating_sub(2));
    let all = &scene.picture.regions;
    let rows = window(all.len(), scene.screen.region, height).map(|place| {
        let selected = focused && place == scene.screen.region;
        row(&all[place], curve, scene.theme).style(if selected {
            scene.theme.selected()
        } else {
            Style::new()
        })
    });
    let heading = ["region", "all/s", "local", "isthmus", "redir", "shed", "misrout", "edges", "state", ""];
    let table = Table::new(rows, widths(curve))
        .header(Row::new(heading).style(scene.theme.quiet()))
        .column_spacing(1)
        .block(section("regions", focused, scene.theme));
    frame.render_widget(table, area);
}

fn widths(curve: u16) -> [Constraint; 10] {
    [12, 6, 6, 7, 5, 6, 7, 5, 8, curve].map(Constraint::Length)
}

fn row(region: &RegionRow, curve: u16, theme: Theme) -> Row<'_> {
    let rates = &region.rates;
    let rate = |value: f64| Cell::from(short(value));
    let shed = if rates.shed > 0.0 { theme.warn() } else { Style::new() };
    let name = if region.own { format!("{}*", region.name) } else { region.name.clone() };
    Row::new([
        Cell::from(plain(&name, 12)),
        rate(rates.total()),
        rate(rates.local),
        rate(rates.isthmus),
        rate(rates.redirect),
        Cell::from(Span::styled(short(rates.shed), shed)),
        rate(rates.misrouted),
        edges(region, theme),
        state(region, theme),
        Cell::from(Span::styled(sparkline(&region.history, usize::from(curve)), theme.curve())),
    ])
}

fn edges(region: &RegionRow, theme: Theme) -> Cell<'static> {
    let Some((up, all)) = region.edges else { return Cell::from("-") };
    let style = match up {
        0 => theme.bad(),
        up if up < all => theme.warn(),
        _ => theme.good(),
    };
    Cell::from(Span::styled(format!("{up}/{all}"), style))
}

fn state(region: &RegionRow, theme: Theme) -> Cell<'static> {
    match region.failover.as_deref() {
        None => Cell::from(Span::styled("serving", theme.good())),
        Some("automatic") => Cell::from(Span::styled("autofail", theme.warn())),
        Some(_) => Cell::from(Span::styled("FAILOVER", theme.warn())),
    }
}

/// The last values, one column each, scaled to the highest among them.
pub(super) fn sparkline(history: &[u64], width: usize) -> String {
    let shown = &history[history.len().saturating_sub(width)..];
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    let bar = |value: u64| {
        let step = u128::from(value) * 7 / u128::from(most);
        BARS[usize::try_from(step).unwrap_or(7).min(7)]
    };
    shown.iter().map(|value| if *value == 0 { ' ' } else { bar(*value) }).collect()
}
