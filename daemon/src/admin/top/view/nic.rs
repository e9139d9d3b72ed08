//! The program on the interfaces: where it is, what it lets pass and sheds. Never names a source address.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::super::picture::NicPane;
use super::super::text::{plain, short};
use super::{Scene, Theme, section};

pub(super) fn draw(frame: &mut Frame<'_>, area: Rect, scene: Scene<'_>) {
    let block = section("NIC", false, scene.theme);
    let lines = match &scene.picture.nic {
        None => vec![Line::styled("no interface: the proxy alone enforces", scene.theme.quiet())],
        Some(nic) => lines(nic, usize::from(area.width), scene.theme),
    };
    frame.render_widget(Paragraph::new(lines).block(block), area);
}

fn lines(nic: &NicPane, width: usize, theme: Theme) -> Vec<Line<'static>> {
    let state = if nic.state == "loaded" { theme.good() } else { theme.bad() };
    let shed = if nic.shed > 0.0 { theme.warn() } else { theme.quiet() };
    let mut lines = vec![
        Line::from(vec![
            Span::raw(format!("pass {}/s  ", short(nic.passed))),
            Span::styled(format!("shed {}/s", short(nic.shed)), shed),
        ]),
        Line::from(vec![
            Span::styled(plain(&nic.state, width), state),
            Span::raw(format!("  {}", plain(&nic.interfaces.join(", "), width))),
            Span::styled(format!("  lease {}", plain(&nic.lease, 20)), theme.quiet()),
        ]),
    ];
    let reason = |(reason, rate): &(String, f64)| format!("{:>6}/s {}", short(*rate), plain(reason, width));
    lines.extend(nic.reasons.iter().map(|row| Line::raw(reason(row))));
    lines
}
