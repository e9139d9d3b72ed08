//! What the proxy reports. Never counts anything itself.
