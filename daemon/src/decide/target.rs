//! The request's target: `tg_from` taken out, and the address that a redirect sends to. Never decodes or rewrites anything else.

/// Name of the query parameter that marks a redirected request.
const MARK: &str = "tg_from";

/// Whether the query carries `tg_from`.
#[must_use]
pub fn is_marked(query: &str) -> bool {
    query.contains(MARK) && parameters(query).any(is_mark)
}

/// Path and query without `tg_from`.
#[must_use]
pub fn unmarked(path: &str, query: &str) -> String {
    let kept: Vec<&str> = parameters(query).filter(|parameter| !is_mark(parameter)).collect();
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

/// Where a redirect leads: the region's public address, the same path and query, and `tg_from`.
#[must_use]
pub fn location(public_url: &str, path_and_query: &str, from: &str) -> String {
    let separator = if path_and_query.contains('?') { '&' } else { '?' };
    let path_and_query = if path_and_query.starts_with('/') { path_and_query } else { "/" };
    format!("{public_url}{path_and_query}{separator}{MARK}={from}")
}

fn parameters(query: &str) -> impl Iterator<Item = &str> {
    query.split('&')
}

fn is_mark(parameter: &str) -> bool {
    parameter.strip_prefix(MARK).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_is_found_and_taken_out() {
        let rows = [
            ("tg_from=us", true, "/a"),
            ("x=1&tg_from=us&y=2", true, "/a?x=1&y=2"),
            ("tg_from", true, "/a"),
            ("tg_fromage=1", false, "/a?tg_fromage=1"),
            ("x=tg_from", false, "/a?x=tg_from"),
            ("x=%20&&y", false, "/a?x=%20&&y"),
            ("tg_from=eu&tg_from=us&z=", true, "/a?z="),
        ];
        for (query, marked, without) in rows {
            assert_eq!(is_marked(query), marked, "{query}");
            assert_eq!(unmarked("/a", query), without, "{query}");
        }
    }

    #[test]
    fn a_redirect_keeps_path_and_query() {
        let to = |target| location("https://us.example.com", target, "eu-west-1");
        assert_eq!(to("/"), "https://us.example.com/?tg_from=eu-west-1");
        assert_eq!(to("/a/b?c=d"), "https://us.example.com/a/b?c=d&tg_from=eu-west-1");
        assert_eq!(to("*"), "https://us.example.com/?tg_from=eu-west-1");
    }
}
