//! What the NIC reports. Never asks the kernel.
