//! Putting the program on an interface, swapping it there, and taking it off, through pinned BPF links.
//! Never replaces a program that is not this instance's, and never leaves an interface bare while swapping.

use std::io;
use std::path::Path;
use std::time::Duration;

use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::xdp::{XdpLink, XdpMode as AyaMode};
use aya::programs::{ProgramError, Xdp, loaded_programs};

use super::LoadError;
use super::netlink::{AttachedProgram, Interface};
use super::pins::Pins;
use crate::config::types::XdpMode;
use crate::decide::report::nic::AttachMode;

/// Why the program is not on an interface.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// No such interface in this network namespace.
    #[error("[xdp] interfaces: there is no interface \"{interface}\" in this network namespace")]
    Missing {
        /// Its name.
        interface: String,
    },
    /// Somebody else's program is there.
    #[error(
        "interface {interface} already has a {} XDP program that is not this instance's: {program} (id {id}); it is left alone. \
         Detach it (ip link set dev {interface} xdp off), or leave this interface out of [xdp] interfaces", mode.label()
    )]
    Foreign {
        /// The interface.
        interface: String,
        /// The program's name, and whose it is if another tidegate instance's.
        program: String,
        /// The kernel's id of it.
        id: u32,
        /// Where it runs.
        mode: AttachMode,
    },
    /// The kernel or driver refused.
    #[error("interface {interface} refuses the program in {} mode: {why}{hint}", mode.label())]
    Refused {
        /// The interface.
        interface: String,
        /// What was tried last.
        mode: AttachMode,
        /// What the kernel said.
        why: io::Error,
        /// What the operator can do.
        hint: &'static str,
    },
    /// The program on the interface could not be exchanged; the one before is still there and enforces.
    #[error("interface {interface} keeps its previous program: {why}")]
    Swap {
        /// The interface.
        interface: String,
        /// What the kernel said.
        why: io::Error,
    },
    /// The object lacks the program.
    #[error(transparent)]
    Program(#[from] LoadError),
    /// The link could not be pinned, so it was taken back.
    #[error("pinning the link of interface {interface} at {path}: {why}")]
    Pin {
        /// The interface.
        interface: String,
        /// The pin.
        path: String,
        /// What the kernel said.
        why: io::Error,
    },
}

impl AttachError {
    /// The interface that it is about.
    #[must_use]
    pub fn interface(&self) -> Option<&str> {
        match self {
            Self::Missing { interface }
            | Self::Foreign { interface, .. }
            | Self::Refused { interface, .. }
            | Self::Swap { interface, .. }
            | Self::Pin { interface, .. } => Some(interface),
            Self::Program(_) => None,
        }
    }

    /// Whether waiting may help: the interface may still appear.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing { .. })
    }
}

/// How an interface came to have the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Attached {
    /// It was there (from this or an earlier daemon) and was exchanged.
    Swapped(AttachMode),
    /// It was put there now.
    Fresh(AttachMode),
}

/// Puts `program` on `interface`, or exchanges this instance's program there for it.
pub(crate) fn attach(
    program: &mut Xdp,
    interface: &Interface,
    mode: XdpMode,
    pins: &Pins,
) -> Result<Attached, AttachError> {
    let pin = pins.link(&interface.name);
    if let Some((link, current)) = own_link(&pin, interface) {
        if mode_fits(mode, current) {
            swap(program, link, interface)?;
            return Ok(Attached::Swapped(current));
        }
        tracing::warn!(
            interface = interface.name,
            from = current.label(),
            "XDP mode changes: detached for a moment"
        );
    }
    // Nothing is at the pin, or it holds an interface that is gone or has to change its mode.
    let bare = release(&pin, interface)?;
    fresh(program, bare.as_ref().unwrap_or(interface), mode, pins).map(Attached::Fresh)
}

/// Removes a link's pin and waits until the kernel has taken its program off `interface`, which it does a little later.
/// Gives the interface as it is then, if it had to wait.
fn release(pin: &Path, interface: &Interface) -> Result<Option<Interface>, AttachError> {
    let id = program_of(pin);
    drop_pin(pin, interface)?;
    Ok(id.and_then(|id| wait_until_off(interface, id)))
}

/// The program that the pinned link holds.
fn program_of(pin: &Path) -> Option<u32> {
    FdLink::from(PinnedLink::from_pin(pin).ok()?).info().ok().map(|link| link.program_id())
}

/// Waits, a second at most, until program `id` is off `interface`.
fn wait_until_off(interface: &Interface, id: u32) -> Option<Interface> {
    let mut now = None;
    for _ in 0..100 {
        let present = super::netlink::interfaces().ok()?;
        now = present.into_iter().find(|other| other.index == interface.index);
        if !now.as_ref()?.programs.iter().any(|program| program.id == id) {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    now
}

/// Takes the program off `interface` and waits until it is off. The interface need not exist in this network namespace.
pub(crate) fn take_off(interface: &str, pin: &Path) -> io::Result<()> {
    let id = program_of(pin);
    std::fs::remove_file(pin)?;
    let present = super::netlink::interfaces().unwrap_or_default();
    if let (Some(id), Some(there)) = (id, present.iter().find(|other| other.name == interface)) {
        wait_until_off(there, id);
    }
    Ok(())
}

/// This instance's link on `interface` and its mode; `None` when the pinned link is on something that no longer exists.
fn own_link(pin: &Path, interface: &Interface) -> Option<(FdLink, AttachMode)> {
    let link = FdLink::from(PinnedLink::from_pin(pin).ok()?);
    let id = link.info().ok()?.program_id();
    let there = interface.programs.iter().find(|program| program.id == id)?;
    Some((link, there.mode))
}

/// Which of this instance's link pins are on `interface` now, with the mode.
pub(crate) fn is_ours(pins: &Pins, interface: &Interface) -> Option<AttachMode> {
    own_link(&pins.link(&interface.name), interface).map(|(_, mode)| mode)
}

fn mode_fits(wanted: XdpMode, current: AttachMode) -> bool {
    match wanted {
        XdpMode::Auto => true,
        XdpMode::Native => current == AttachMode::Native,
        XdpMode::Generic => current == AttachMode::Generic,
    }
}

fn swap(program: &mut Xdp, link: FdLink, interface: &Interface) -> Result<(), AttachError> {
    let failed = |why| AttachError::Swap { interface: interface.name.clone(), why };
    let link = XdpLink::try_from(link).map_err(|error| failed(io::Error::other(error)))?;
    let id = program.attach_to_link(link).map_err(|error| failed(cause(error)))?;
    // The pin keeps the link; only our descriptor of it is closed here.
    program.take_link(id).map(drop).map_err(|error| failed(cause(error)))
}

fn drop_pin(pin: &Path, interface: &Interface) -> Result<(), AttachError> {
    match std::fs::remove_file(pin) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => {
            Err(AttachError::Pin { interface: interface.name.clone(), path: pin.display().to_string(), why })
        }
        _ => Ok(()),
    }
}

fn fresh(
    program: &mut Xdp,
    interface: &Interface,
    mode: XdpMode,
    pins: &Pins,
) -> Result<AttachMode, AttachError> {
    refuse_foreign(&interface.programs, &interface.name, pins)?;
    let modes: &[AttachMode] = match mode {
        XdpMode::Auto => &[AttachMode::Native, AttachMode::Generic],
        XdpMode::Native => &[AttachMode::Native],
        XdpMode::Generic => &[AttachMode::Generic],
    };
    let mut last = None;
    for &mode in modes {
        match create_link(program, interface, mode) {
            Ok(link) => return pin_link(link, interface, pins).map(|()| mode),
            Err(why) if matches!(why.raw_os_error(), Some(EBUSY | EEXIST)) => {
                return Err(occupied(interface, mode, why, pins));
            }
            Err(why) => {
                tracing::info!(interface = interface.name, mode = mode.label(), %why, "XDP mode not possible");
                last = Some((mode, why));
            }
        }
    }
    let (mode, why) = last.unwrap_or((AttachMode::Generic, io::Error::other("no mode to try")));
    Err(refused(interface, mode, why))
}

const ENODEV: i32 = 19;
const EBUSY: i32 = 16;
const EEXIST: i32 = 17;

/// The kernel says that a program is there, though none was when we looked.
fn occupied(interface: &Interface, mode: AttachMode, why: io::Error, pins: &Pins) -> AttachError {
    let now = super::netlink::interfaces().unwrap_or_default();
    let found = now.iter().find(|other| other.index == interface.index);
    match found.map(|now| refuse_foreign(&now.programs, &interface.name, pins)) {
        Some(Err(foreign)) => foreign,
        _ => refused(interface, mode, why),
    }
}

fn refused(interface: &Interface, mode: AttachMode, why: io::Error) -> AttachError {
    if why.raw_os_error() == Some(ENODEV) {
        return AttachError::Missing { interface: interface.name.clone() };
    }
    let hint = match mode {
        AttachMode::Native => "; mode = \"generic\" or \"auto\" works with every driver",
        _ => "",
    };
    AttachError::Refused { interface: interface.name.clone(), mode, why, hint }
}

fn create_link(program: &mut Xdp, interface: &Interface, mode: AttachMode) -> Result<FdLink, io::Error> {
    let flags = if mode == AttachMode::Native { AyaMode::Driver } else { AyaMode::Skb };
    let id = program.attach_to_if_index(interface.index, flags).map_err(cause)?;
    let link = program.take_link(id).map_err(cause)?;
    FdLink::try_from(link)
        .map_err(|_| io::Error::other("the kernel gave no BPF link, which alone can be pinned"))
}

/// From here on the program stays without us. Before, our end took it off: nothing is left half-done.
fn pin_link(link: FdLink, interface: &Interface, pins: &Pins) -> Result<(), AttachError> {
    let path = pins.link(&interface.name);
    let pinned = link.pin(&path);
    pinned.map(drop).map_err(|error| AttachError::Pin {
        interface: interface.name.clone(),
        path: path.display().to_string(),
        why: io::Error::other(error),
    })
}

fn refuse_foreign(programs: &[AttachedProgram], interface: &str, pins: &Pins) -> Result<(), AttachError> {
    let Some(program) = programs.first() else { return Ok(()) };
    Err(AttachError::Foreign {
        interface: interface.to_owned(),
        program: describe(program.id, pins),
        id: program.id,
        mode: program.mode,
    })
}

/// A program's name, and the tidegate instance that pins it, as far as this process may see them.
fn describe(id: u32, pins: &Pins) -> String {
    let found = loaded_programs().filter_map(Result::ok).find(|program| program.id() == id);
    let name = found.and_then(|program| program.name_as_str().map(str::to_owned));
    let name = name.unwrap_or_else(|| "name unknown".to_owned());
    match pins.instance_of_program(id) {
        Some(instance) => format!("\"{name}\" of tidegate instance \"{instance}\""),
        None => format!("\"{name}\""),
    }
}

/// The kernel's own error inside aya's.
fn cause(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(error) => error.io_error,
        ProgramError::IOError(error) => error,
        error => io::Error::other(error),
    }
}
