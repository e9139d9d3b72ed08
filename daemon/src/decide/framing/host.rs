//! Hosts as `Host` and targets name them. Never resolves one.

/// Whether this is `name`, `name:port`, `[address]` or `[address]:port`; empty is one as well (RFC 9112, 3.2: a target without an authority).
///
/// Narrower than RFC 3986, 3.2.2: names have letters, digits and `-._~`. What else the grammar allows names no host, and a comma or a percent
/// sign is read differently from one server to the next.
#[must_use]
pub fn is_host(host: &[u8]) -> bool {
    let Some(literal) = host.strip_prefix(b"[") else {
        let end = memchr::memchr(b':', host).unwrap_or(host.len());
        let name = &host[..end];
        let is_named = !name.is_empty() || host.is_empty();
        return is_named && name.iter().all(is_name_byte) && is_port(&host[end..]);
    };
    let Some(end) = memchr::memchr(b']', literal) else { return false };
    let address = std::str::from_utf8(&literal[..end]).unwrap_or_default();
    address.parse::<std::net::Ipv6Addr>().is_ok() && is_port(&literal[end + 1..])
}

fn is_name_byte(byte: &u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
}

fn is_port(text: &[u8]) -> bool {
    match text {
        [] | [b':'] => true,
        [b':', digits @ ..] => {
            let text = std::str::from_utf8(digits).unwrap_or_default();
            digits.iter().all(u8::is_ascii_digit) && text.parse::<u16>().is_ok()
        }
        _ => false,
    }
}

/// Whether both name the same host and port, where the scheme's own port may be left out.
#[must_use]
pub fn is_same_host(one: &[u8], other: &[u8], https: bool) -> bool {
    let own: &[u8] = if https { b":443" } else { b":80" };
    let bare = |host| strip(strip(host, own), b":");
    bare(one).eq_ignore_ascii_case(bare(other))
}

fn strip<'a>(host: &'a [u8], end: &[u8]) -> &'a [u8] {
    host.strip_suffix(end).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_told_from_what_only_looks_like_one() {
        for host in ["", "h", "a_b.example.", "h:", "h:80", "192.0.2.1:65535", "[::1]", "[2001:db8::1]:8080"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in
            ["h, i", "h/", "u@h", ":80", "h:65536", "h:a", "h:1:2", "[::1", "[h]", "[::1]a", "h%41", "\u{e9}"]
        {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn the_schemes_own_port_may_be_left_out() {
        assert!(is_same_host(b"H.example:80", b"h.Example", false));
        assert!(is_same_host(b"h", b"h:443", true));
        assert!(!is_same_host(b"h", b"h:443", false));
        assert!(!is_same_host(b"h", b"i", false));
    }
}
