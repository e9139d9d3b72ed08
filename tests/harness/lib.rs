//! Harness for cases on real traffic: packets, namespaces, origins, daemons. Never touches the machine's own interfaces.
