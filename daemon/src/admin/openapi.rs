//! The OpenAPI document, served as it is and checked against the handlers by tests. Never made at run time.

/// OpenAPI 3.1.
pub(super) const DOCUMENT: &str = include_str!("openapi.json");
