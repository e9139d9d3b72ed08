//! `[identity]`: this host towards other regions. Never reads a certificate.

use super::super::{cursor::Cursor, key, key::Key, scalar};
use crate::config::types::Identity;

pub(in crate::config) const KEYS: &[Key] = &[
    key::required(
        "certificate",
        "an absolute path",
        "PEM chain; its SAN must carry the region: URI:tidegate://region/NAME.",
    ),
    key::required("key", "an absolute path", "PEM key."),
    key::required("authority", "an absolute path", "PEM of who signs the peers' certificates."),
];

pub(in crate::config) fn read(cursor: &Cursor<'_>) -> Option<Identity> {
    let certificate = cursor.get("certificate", scalar::path);
    let key = cursor.get("key", scalar::path);
    let authority = cursor.get("authority", scalar::path);
    Some(Identity { certificate: certificate?, key: key?, authority: authority? })
}
