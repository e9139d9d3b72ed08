//! What the relay reports. Never counts anything itself.
