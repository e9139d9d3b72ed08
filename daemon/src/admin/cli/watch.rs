//! `tidegate watch`: events as lines, until the reader or the daemon ends it. Samples nothing.

use http::Method;
use http_body_util::BodyExt;
use serde_json::Value;

use super::ask::Failure;
use super::client::{Client, ClientError};
use super::output::{Paint, plain, print};
use crate::admin::wire::problem::Problem;

/// Longest line that is taken.
const MAX_LINE: usize = 1 << 20;

/// Prints events as they come.
pub(super) async fn watch(client: &Client, kinds: &[String], json: bool) -> Result<(), Failure> {
    let target = if kinds.is_empty() {
        "/v1/events".to_owned()
    } else {
        format!("/v1/events?kind={}", kinds.join(","))
    };
    let answer = client.open(Method::GET, &target, None).await?;
    let status = answer.status();
    let mut body = answer.into_body();
    let mut rest: Vec<u8> = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { break };
        let Ok(data) = frame.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            if !status.is_success() {
                return Err(refused(&line, status));
            }
            show(&line, json)?;
        }
        if rest.len() > MAX_LINE {
            break;
        }
    }
    Err(Failure::Refused("the daemon ended the stream".to_owned()))
}

fn refused(line: &[u8], status: http::StatusCode) -> Failure {
    let problem =
        serde_json::from_slice(line).unwrap_or_else(|_| Problem::new(status, "the stream was refused"));
    Failure::Client(ClientError::Problem(Box::new(problem)))
}

fn show(line: &[u8], json: bool) -> Result<(), Failure> {
    let text = String::from_utf8_lossy(line);
    if text.trim().is_empty() {
        return Ok(());
    }
    if json {
        return Ok(print(&text)?);
    }
    match serde_json::from_str::<Value>(&text) {
        Ok(value) => Ok(print(&person(&value, Paint::detect()))?),
        Err(_) => Ok(print(&plain(&text))?),
    }
}

/// `TIME KIND key=value …`, without what is null.
fn person(event: &Value, paint: Paint) -> String {
    let field = |name: &str| event.get(name).and_then(Value::as_str).unwrap_or_default();
    let mut line = format!("{} {:8}", paint.faint(field("at")), paint.bold(field("kind")));
    for (key, value) in event.as_object().into_iter().flatten() {
        if key == "at" || key == "kind" || value.is_null() || (key == "skipped" && value.as_u64() == Some(0))
        {
            continue;
        }
        let shown = value.as_str().map_or_else(|| value.to_string(), plain);
        line.push_str(&format!(" {key}={shown}"));
    }
    line.push('\n');
    line
}
