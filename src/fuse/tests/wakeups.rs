//! How fast processors are to be back from their sleep. Alone in its program: the limit is
//! one for the whole machine, and another mount would be taken for this one.

mod common;

use common::{eventually, scene};
use std::fs::File;
use std::io::Read;

/// Microseconds within which processors are to be back from their sleep, as all who ask for
/// that have it together. None: nobody can ask.
fn wake_up_limit() -> Option<i32> {
    let mut bytes = [0; 4];
    let device = File::open("/dev/cpu_dma_latency");
    device
        .and_then(|mut device| device.read_exact(&mut bytes))
        .ok()?;
    Some(i32::from_ne_bytes(bytes))
}

#[test]
fn processors_are_kept_awake_while_many_requests_come_and_no_longer() {
    let Some(scene) = scene() else { return };
    let Some(before) = wake_up_limit() else {
        return eprintln!("skipped: there is no /dev/cpu_dma_latency");
    };
    if before < 1_000_000 {
        return eprintln!("skipped: another program keeps processors awake ({before} us)");
    }
    scene.file("file", b"content");
    for (option, is_kept) in [("keep_awake=false", false), ("", true)] {
        let mounted = scene.mount(option);
        let path = mounted.path("file");
        assert_eq!(wake_up_limit(), Some(before), "nothing was asked for yet");
        let open_often = || {
            (0..500).for_each(|_| drop(File::open(&path).unwrap()));
            wake_up_limit().unwrap() < before
        };
        match is_kept {
            true => eventually("they are kept awake", open_often),
            false => assert!(!(0..20).any(|_| open_often())),
        }
        eventually("they may sleep again", || wake_up_limit() == Some(before));
        assert!(mounted.unmount().success());
    }
}
