//! Keys over servers as libmemcached's weighted ketama does it (`MEMCACHED_BEHAVIOR_KETAMA_WEIGHTED`), every weight equal. Never
//! changes while a pool lives.

use std::net::SocketAddr;

use md5::{Digest, Md5};

/// Points per server on the circle.
const POINTS: u32 = 160;
/// Points out of one digest.
const PER_DIGEST: u32 = 4;
/// libmemcached leaves this port out of a server's name.
const DEFAULT_PORT: u16 = 11211;

/// The circle.
#[derive(Clone, Debug)]
pub struct Ketama {
    points: Vec<(u32, u16)>,
}

impl Ketama {
    /// Places every server on the circle.
    #[must_use]
    pub fn new(servers: &[SocketAddr]) -> Self {
        let mut points = Vec::with_capacity(servers.len() * POINTS as usize);
        for (place, server) in (0u16..).zip(servers) {
            for index in 0..POINTS / PER_DIGEST {
                let digest = Md5::digest(name(server, index));
                for point in 0..PER_DIGEST as usize {
                    let word = [
                        digest[point * 4],
                        digest[point * 4 + 1],
                        digest[point * 4 + 2],
                        digest[point * 4 + 3],
                    ];
                    points.push((u32::from_le_bytes(word), place));
                }
            }
        }
        points.sort_by_key(|&(point, _)| point);
        Self { points }
    }

    /// The server, by place, where `key` lives.
    #[must_use]
    pub fn server(&self, key: &[u8]) -> usize {
        let digest = Md5::digest(key);
        let hash = u32::from_le_bytes([digest[0], digest[1], digest[2], digest[3]]);
        let place = self.points.partition_point(|&(point, _)| point < hash);
        self.points.get(place).or_else(|| self.points.first()).map_or(0, |&(_, server)| usize::from(server))
    }
}

fn name(server: &SocketAddr, index: u32) -> String {
    let (ip, port) = (server.ip(), server.port());
    if port == DEFAULT_PORT { format!("{ip}-{index}") } else { format!("{ip}:{port}-{index}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_server_moves_only_its_keys() {
        let all: Vec<SocketAddr> =
            (1..=4u16).map(|n| SocketAddr::from(([192, 0, 2, 1], 11300 + n))).collect();
        let (four, three) = (Ketama::new(&all), Ketama::new(&all[..3]));
        let mut counts = [0; 4];
        for n in 0..10_000 {
            let key = format!("key:{n}");
            let server = four.server(key.as_bytes());
            counts[server] += 1;
            if server < 3 {
                assert_eq!(three.server(key.as_bytes()), server, "{key}");
            }
        }
        assert!(counts.iter().all(|&count| (1_900..3_200).contains(&count)), "{counts:?}");
    }
}
