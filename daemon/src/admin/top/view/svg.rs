//! A frame of the live view as an SVG, for the documents. Never part of the program.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Size of a cell, in pixels.
const CELL: (u16, u16) = (8, 17);
const PAPER: &str = "#16191d";
const INK: &str = "#d7dade";

/// The whole frame.
pub(super) fn of(buffer: &Buffer) -> String {
    let (width, height) = (buffer.area.width * CELL.0 + 16, buffer.area.height * CELL.1 + 16);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <rect width=\"100%\" height=\"100%\" rx=\"6\" fill=\"{PAPER}\"/>\n"
    );
    let rows = buffer.content.chunks(usize::from(buffer.area.width));
    for (row, y) in rows.zip((0..).map(|row: u16| row * CELL.1 + 8)) {
        let mut x = 8;
        for run in row.chunk_by(|one, next| look(one) == look(next)) {
            let width = u16::try_from(run.len()).unwrap_or(0) * CELL.0;
            draw(&mut svg, run, (x, y, width));
            x += width;
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Ink, paper where it is another one, bold, and whether there is a letter: an SVG makes one of several spaces.
fn look(cell: &Cell) -> (&'static str, Option<&'static str>, bool, bool) {
    let letter = cell.symbol() != " ";
    let ink = hue(cell.fg, INK);
    let bold = cell.modifier.contains(Modifier::BOLD);
    if cell.modifier.contains(Modifier::REVERSED) {
        (PAPER, Some(ink), bold, letter)
    } else {
        (ink, None, bold, letter)
    }
}

fn hue(colour: Color, else_hue: &'static str) -> &'static str {
    match colour {
        Color::Green => "#63c174",
        Color::Yellow => "#e2b340",
        Color::Red => "#f2675f",
        Color::Cyan => "#4fb8c9",
        Color::DarkGray => "#7d858f",
        _ => else_hue,
    }
}

fn draw(svg: &mut String, run: &[Cell], (x, y, width): (u16, u16, u16)) {
    let (ink, paper, bold, letters) = look(&run[0]);
    if let Some(paper) = paper {
        let height = CELL.1;
        let _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" fill=\"{paper}\"/>"
        );
    }
    if !letters {
        return;
    }
    let text: String = run.iter().map(Cell::symbol).collect();
    let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let weight = if bold { " font-weight=\"bold\"" } else { "" };
    // The width is given, so that a font whose letters are wider or narrower keeps the columns.
    let _ = writeln!(
        svg,
        "<text x=\"{x}\" y=\"{}\" textLength=\"{width}\" fill=\"{ink}\"{weight}>{text}</text>",
        y + 13
    );
}
