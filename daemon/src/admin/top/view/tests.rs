//! Frames as text, against golden files and for what must never happen in them. `UPDATE_GOLDEN=1` writes them anew.
//! The pictures in docs/pictures are frames as well; `cargo xtask pictures` writes them.

use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};

use super::super::picture::{EventLine, Picture};
use super::super::sample;
use super::super::screen::{Key, Screen};
use super::*;

#[path = "svg.rs"]
mod svg;

fn frame(width: u16, height: u16, picture: &Picture, screen: &Screen, events: &[EventLine]) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a test backend");
    let theme = Theme { colour: true };
    terminal.draw(|frame| draw(frame, Scene { picture, screen, events, theme })).expect("drawn");
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    let line = |row: &[Cell]| row.iter().map(Cell::symbol).collect::<String>().trim_end().to_owned() + "\n";
    rows.map(line).collect()
}

fn golden(name: &str, found: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/admin/top/view/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, found).expect("writable");
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(found, wanted, "{}", path.display());
}

#[test]
fn frames_are_as_in_the_golden_files() {
    let (picture, events) = (sample::picture(), sample::events());
    golden("top-80x24.txt", &text(&frame(80, 24, &picture, &Screen::default(), &events)));
    golden("top-140x40.txt", &text(&frame(140, 40, &picture, &Screen::default(), &events)));
    golden("top-empty.txt", &text(&frame(80, 24, &Picture::default(), &Screen::default(), &[])));
    let mut asking = Screen::default();
    asking.key(Key::Char('f'), &picture);
    golden("top-asking.txt", &text(&frame(80, 24, &picture, &asking, &events)));
}

#[test]
fn pictures_in_the_documents_are_what_is_drawn() {
    let (picture, events) = (sample::picture(), sample::events());
    for (name, width, height) in [("top-80x24.svg", 80, 24), ("top-140x40.svg", 140, 40)] {
        let found = svg::of(&frame(width, height, &picture, &Screen::default(), &events));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/pictures").join(name);
        if std::env::var_os("UPDATE_SCREENSHOTS").is_some() {
            std::fs::write(&path, &found).expect("writable");
        }
        let shown = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(found == shown, "{} is old: cargo xtask pictures", path.display());
    }
}

#[test]
fn no_control_byte_reaches_the_terminal() {
    let events = sample::events();
    assert!(events.iter().any(|event| event.text.contains('\u{1b}')), "the sample has one");
    let drawn = frame(200, 50, &sample::picture(), &Screen::default(), &events);
    assert!(drawn.content.iter().all(|cell| !cell.symbol().chars().any(char::is_control)));
}

#[test]
fn any_size_and_any_number_of_rows_is_drawn() {
    let mut picture = sample::picture();
    picture.regions = (0..60).map(|_| picture.regions[1].clone()).collect();
    picture.ceilings = (0..200).map(|n| picture.ceilings[n % 5].clone()).collect();
    picture.relay = (0..40).map(|_| picture.relay[0].clone()).collect();
    let mut screen = Screen::default();
    for _ in 0..70 {
        screen.key(Key::Down, &picture);
    }
    for width in [0, 1, 20, 59, 60, 79, 80, 119, 120, 300] {
        for height in [0, 1, 5, 15, 16, 24, 80] {
            frame(width, height, &picture, &screen, &sample::events());
        }
    }
}

#[test]
fn the_selected_row_is_always_among_those_shown() {
    for count in 0..12 {
        for height in 1..6 {
            for selected in 0..count {
                let shown = window(count, selected, height);
                assert!(shown.contains(&selected), "{count} {height} {selected}: {shown:?}");
                assert_eq!(shown.len(), height.min(count));
            }
        }
    }
}

#[test]
fn bars_have_exactly_their_width() {
    for width in [1_u16, 16, 40] {
        for step in 0..=100 {
            assert_eq!(ceilings::bar(f64::from(step) / 100.0, width).chars().count(), usize::from(width));
        }
    }
    assert_eq!(ceilings::bar(0.5, 4), "██··");
    assert_eq!(ceilings::bar(1.0, 4), "████");
}

#[test]
fn a_sparkline_is_scaled_to_its_own_highest_and_cut_to_its_width() {
    assert_eq!(regions::sparkline(&[0, 1, 7, 14], 10), " ▁▄█");
    assert_eq!(regions::sparkline(&[5; 100], 10).chars().count(), 10);
    assert_eq!(regions::sparkline(&[u64::MAX, 0], 2), "█ ");
    assert_eq!(regions::sparkline(&[], 10), "");
}
