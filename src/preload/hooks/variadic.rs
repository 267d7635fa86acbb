//! The functions with variable arguments: exported here, and written in C. Rust can jump to
//! such a function, with all arguments as they are, but not define one.

use std::arch::naked_asm;

unsafe extern "C" {
    fn cachefs_preload_v_open();
    fn cachefs_preload_v_open64();
    fn cachefs_preload_v_openat();
    fn cachefs_preload_v_openat64();
    fn cachefs_preload_v_fcntl();
    fn cachefs_preload_v_fcntl64();
    fn cachefs_preload_v_ioctl();
}

macro_rules! jumps {
    ($($name:ident => $target:ident;)*) => {
        $(
            #[cfg_attr(not(test), unsafe(no_mangle))]
            #[unsafe(naked)]
            #[allow(missing_docs, reason = "libc's manual has it")]
            pub extern "C" fn $name() {
                #[cfg(target_arch = "x86_64")]
                naked_asm!("jmp {}", sym $target);
                #[cfg(target_arch = "aarch64")]
                naked_asm!("b {}", sym $target);
            }
        )*
    };
}

jumps! {
    open => cachefs_preload_v_open;
    open64 => cachefs_preload_v_open64;
    __open => cachefs_preload_v_open;
    __open64 => cachefs_preload_v_open64;
    openat => cachefs_preload_v_openat;
    openat64 => cachefs_preload_v_openat64;
    fcntl => cachefs_preload_v_fcntl;
    fcntl64 => cachefs_preload_v_fcntl64;
    ioctl => cachefs_preload_v_ioctl;
}
