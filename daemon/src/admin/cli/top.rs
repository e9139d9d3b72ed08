//! `tidegate top`: joins the socket, the keyboard and the view. Decides nothing: the screen says what to do, the daemon whether.

use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::Duration;

use http::Method;
use http_body_util::BodyExt;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};

use super::ask::Failure;
use super::client::{Client, segment};
use super::output::print;
use crate::admin::top::follow::Follow;
use crate::admin::top::picture::{EventLine, Picture};
use crate::admin::top::screen::{Act, Key, Screen};
use crate::admin::top::told;
use crate::admin::top::view::{self, Scene, Theme};
use crate::admin::wire::change::Changed;
use crate::admin::wire::status::Status;

/// Between two statuses.
const EVERY: Duration = Duration::from_secs(1);
/// Longest wait for one of them; the view stands still meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);
/// Events that are kept.
const EVENTS: usize = 200;
/// Longest line of the event stream that is taken.
const MAX_LINE: usize = 1 << 20;

/// Shows the daemon until the operator leaves; with `json`, prints a status per second instead.
pub(super) async fn top(client: &Client, json: bool) -> Result<(), Failure> {
    if json {
        return lines(client).await;
    }
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        let text =
            "top needs a terminal; `tidegate status` prints once, `tidegate top --json` a line per second";
        return Err(Failure::Usage(text.to_owned()));
    }
    let first = status(client).await?;
    let mut live = Live::new(client, &first);
    // Takes the terminal, and gives it back also after a panic.
    let mut terminal = ratatui::try_init()?;
    let ended = live.run(&mut terminal).await;
    ratatui::try_restore()?;
    ended
}

async fn lines(client: &Client) -> Result<(), Failure> {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        let value = client.ask(Method::GET, "/v1/status", None).await?;
        print(&format!("{value}\n"))?;
    }
}

async fn status(client: &Client) -> Result<Status, Failure> {
    let value = client.ask(Method::GET, "/v1/status", None).await?;
    Ok(serde_json::from_value(value)?)
}

struct Live<'a> {
    client: &'a Client,
    follow: Follow,
    picture: Picture,
    screen: Screen,
    events: VecDeque<EventLine>,
    theme: Theme,
}

/// What the keyboard brought.
enum Input {
    Key(Key),
    Redraw,
}

impl<'a> Live<'a> {
    fn new(client: &'a Client, first: &Status) -> Self {
        let mut follow = Follow::default();
        let picture = follow.see(first);
        let colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        let (screen, events) = (Screen::default(), VecDeque::new());
        Self { client, follow, picture, screen, events, theme: Theme { colour } }
    }

    async fn run(&mut self, terminal: &mut DefaultTerminal) -> Result<(), Failure> {
        let (mut keys, mut events) = (keyboard(), stream(self.client.clone()));
        let mut ticks = tokio::time::interval_at(Instant::now() + EVERY, EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.draw(terminal)?;
            tokio::select! {
                input = keys.recv() => match input {
                    Some(Input::Key(key)) => if self.key(key).await { return Ok(()) },
                    Some(Input::Redraw) => {}
                    None => return Ok(()),
                },
                Some(event) = events.recv() => self.keep(event),
                _ = ticks.tick() => self.look().await,
            }
        }
    }

    fn draw(&mut self, terminal: &mut DefaultTerminal) -> Result<(), Failure> {
        let events: &[EventLine] = self.events.make_contiguous();
        let scene = Scene { picture: &self.picture, screen: &self.screen, events, theme: self.theme };
        terminal.draw(|frame| view::draw(frame, scene))?;
        Ok(())
    }

    /// Whether the operator leaves.
    async fn key(&mut self, key: Key) -> bool {
        match self.screen.key(key, &self.picture) {
            None => false,
            Some(Act::Quit) => true,
            Some(act) => {
                let done = carry_out(self.client, &act).await;
                self.look().await;
                self.screen.message = Some(done.unwrap_or_else(|failure| format!("not done: {failure}")));
                false
            }
        }
    }

    fn keep(&mut self, event: EventLine) {
        if self.events.len() == EVENTS {
            self.events.pop_front();
        }
        self.events.push_back(event);
    }

    async fn look(&mut self) {
        if self.screen.paused {
            return;
        }
        match tokio::time::timeout(PATIENCE, status(self.client)).await {
            Ok(Ok(status)) => self.picture = self.follow.see(&status),
            Ok(Err(failure)) => self.screen.message = Some(failure.to_string()),
            Err(_) => self.screen.message = Some("the daemon does not answer in time".to_owned()),
        }
        self.screen.fit(&self.picture);
    }
}

async fn carry_out(client: &Client, act: &Act) -> Result<String, Failure> {
    let (method, target, body) = match act {
        Act::Quit => return Ok(String::new()),
        Act::Failover { region, on } => {
            (Method::PUT, format!("/v1/regions/{}/failover", segment(region)), json!({"on": on}))
        }
        Act::SetCeiling { name, measure, value } => {
            let mut body = json!({});
            body[measure] = json!(value);
            (Method::PATCH, format!("/v1/ceilings/{}", segment(name)), body)
        }
        Act::ResetCeiling { name } => {
            (Method::DELETE, format!("/v1/ceilings/{}/override", segment(name)), json!({}))
        }
    };
    let changed: Changed = serde_json::from_value(client.ask(method, &target, Some(&body)).await?)?;
    let told = changed.changed.iter().map(|one| format!("{}: {} → {}", one.what, one.old, one.new));
    let told: Vec<_> = told.chain(changed.notes.iter().cloned()).collect();
    Ok(if told.is_empty() { "it was so already".to_owned() } else { told.join("; ") })
}

/// Keys come from a thread of their own, since reading a terminal blocks; it ends with the process.
fn keyboard() -> mpsc::Receiver<Input> {
    let (sender, receiver) = mpsc::channel(64);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            let input = match event {
                Event::Key(key) if key.kind != KeyEventKind::Release => known(key).map(Input::Key),
                Event::Resize(..) => Some(Input::Redraw),
                _ => None,
            };
            if input.is_some_and(|input| sender.blocking_send(input).is_err()) {
                return;
            }
        }
    });
    receiver
}

fn known(key: KeyEvent) -> Option<Key> {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    Some(match key.code {
        KeyCode::Char('c') if control => Key::Interrupt,
        KeyCode::Char(_) if control => return None,
        KeyCode::Char(c) => Key::Char(c),
        KeyCode::Up => Key::Up,
        KeyCode::Down => Key::Down,
        KeyCode::Tab | KeyCode::BackTab => Key::Tab,
        KeyCode::Enter => Key::Enter,
        KeyCode::Esc => Key::Escape,
        KeyCode::Backspace => Key::Backspace,
        _ => return None,
    })
}

/// Follows the event stream, and again after it ended.
fn stream(client: Client) -> mpsc::Receiver<EventLine> {
    let (sender, receiver) = mpsc::channel(256);
    tokio::spawn(async move {
        while !sender.is_closed() {
            read(&client, &sender).await;
            tokio::time::sleep(2 * EVERY).await;
        }
    });
    receiver
}

async fn read(client: &Client, sender: &mpsc::Sender<EventLine>) -> Option<()> {
    let mut body = client.open(Method::GET, "/v1/events", None).await.ok()?.into_body();
    let mut rest: Vec<u8> = Vec::new();
    while rest.len() <= MAX_LINE {
        let Ok(data) = body.frame().await?.ok()?.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            let event = serde_json::from_slice::<Value>(&line).ok().as_ref().and_then(told::told);
            if let Some(event) = event {
                sender.send(event).await.ok()?;
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_the_view_knows_reach_it_and_others_do_not() {
        let press = |code, modifiers| known(KeyEvent::new(code, modifiers));
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Key::Interrupt));
        assert_eq!(press(KeyCode::Char('f'), KeyModifiers::CONTROL), None, "control-f is no f");
        assert_eq!(press(KeyCode::Char('c'), KeyModifiers::NONE), Some(Key::Char('c')));
        assert_eq!(press(KeyCode::F(5), KeyModifiers::NONE), None);
    }
}
