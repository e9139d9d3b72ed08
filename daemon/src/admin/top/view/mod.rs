//! Draws a picture and a screen into a frame. A pure function of its arguments: never asks, waits or remembers.

mod ceilings;
mod dialog;
mod events;
mod nic;
mod regions;
mod relay;
mod theme;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders};

use super::picture::{EventLine, HostLine, Picture};
use super::screen::Screen;
use super::text::{plain, short, span};
pub use theme::Theme;

/// Narrower than this, nothing is drawn but a request for room.
const LEAST: (u16, u16) = (60, 16);
/// From this width on, curves and bars get more room.
const WIDE: u16 = 120;

/// Everything that is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Scene<'a> {
    /// What there is to see.
    pub picture: &'a Picture,
    /// What is selected, typed and asked.
    pub screen: &'a Screen,
    /// What happened, newest last.
    pub events: &'a [EventLine],
    /// Colours or none.
    pub theme: Theme,
}

/// Draws the whole view.
pub fn draw(frame: &mut Frame<'_>, scene: Scene<'_>) {
    let area = frame.area();
    if area.width < LEAST.0 || area.height < LEAST.1 {
        let wish = format!("{} columns and {} lines are needed", LEAST.0, LEAST.1);
        frame.render_widget(Line::raw(wish), area);
        return;
    }
    let [title, regions_area, ceilings_area, middle, events_area, keys] = rooms(area, scene.picture);
    frame.render_widget(title_line(scene, title.width), title);
    regions::draw(frame, regions_area, scene);
    ceilings::draw(frame, ceilings_area, scene);
    let halves = Layout::horizontal([Constraint::Percentage(50), Constraint::Percentage(50)]);
    let [left, right]: [Rect; 2] = halves.areas(middle);
    nic::draw(frame, left, scene);
    relay::draw(frame, right, scene);
    events::draw(frame, events_area, scene);
    frame.render_widget(keys_line(scene), keys);
    dialog::draw(frame, area, scene);
}

/// Regions and ceilings get what they need up to a bound that leaves the others room; events take the rest.
fn rooms(area: Rect, picture: &Picture) -> [Rect; 6] {
    let lines = |count: usize, most: u16| u16::try_from(count.max(1)).unwrap_or(most).min(most);
    let share = area.height / 3;
    let reasons = picture.nic.as_ref().map_or(0, |nic| nic.reasons.len() + 2);
    let middle = lines((picture.relay.len() + 1).max(reasons), (area.height / 5).max(3)).max(3);
    Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(2 + lines(picture.regions.len(), share)),
        Constraint::Length(1 + lines(picture.ceilings.len(), share)),
        Constraint::Length(1 + middle),
        Constraint::Min(2),
        Constraint::Length(1),
    ])
    .areas(area)
}

fn title_line(scene: Scene<'_>, width: u16) -> Line<'_> {
    let host = &scene.picture.host;
    let total: f64 = scene.picture.regions.iter().map(|region| region.rates.total()).sum();
    let shed: f64 = scene.picture.regions.iter().map(|region| region.rates.shed).sum();
    let mut spans = vec![
        Span::styled("tidegate ", scene.theme.title()),
        Span::raw(facts(host, width)),
        Span::raw(format!("  {}/s", short(total))),
    ];
    if shed > 0.0 {
        spans.push(Span::styled(format!("  shed {}/s", short(shed)), scene.theme.warn()));
    }
    if let Some(warning) = &host.warning {
        spans.push(Span::styled(format!("  {}", plain(warning, 60)), scene.theme.bad()));
    }
    if scene.screen.paused {
        spans.push(Span::styled("  paused", scene.theme.warn()));
    }
    Line::from(spans)
}

fn facts(host: &HostLine, width: u16) -> String {
    let few =
        format!("{} in {}  up {}  mis-routed: {}", host.instance, host.region, span(host.up), host.misroute);
    if width < WIDE {
        return plain(&few, 50);
    }
    plain(&format!("{few}  configuration {}  version {}", host.generation, host.version), 100)
}

fn keys_line(scene: Scene<'_>) -> Line<'_> {
    match &scene.screen.message {
        Some(message) => Line::styled(plain(message, 200), scene.theme.warn()),
        None => Line::styled(
            "q quit  ? keys  ↑↓ select  Tab list  f failover  c ceiling  r reset  p pause",
            scene.theme.quiet(),
        ),
    }
}

/// A heading with a rule to the right of it.
fn section(title: &str, focused: bool, theme: Theme) -> Block<'_> {
    let style: Style = if focused { theme.title() } else { theme.quiet() };
    Block::new()
        .borders(Borders::TOP)
        .border_style(theme.quiet())
        .title(Span::styled(format!(" {title} "), style))
}

/// The rows of a list that are shown so that the selected one is among them.
fn window(count: usize, selected: usize, height: usize) -> std::ops::Range<usize> {
    let first = (selected + 1).saturating_sub(height).min(count.saturating_sub(height));
    first..(first + height).min(count)
}

#[cfg(test)]
mod tests;
