//! The functions of libc that have been replaced, as they would be found without this
//! library. Each is looked up when it is first needed: others' constructors open files
//! before ours has run.

use libc::{FILE, c_char, c_int, c_uint, c_ulong, c_void};
use libc::{gid_t, mode_t, timespec, timeval, uid_t, utimbuf};
use std::ffi::CStr;
use std::sync::atomic::{AtomicPtr, Ordering};

/// Stands for a function that libc does not have.
const MISSING: *mut c_void = std::ptr::without_provenance_mut(1);

/// A function of libc, once it was looked up.
pub struct Symbol {
    name: &'static CStr,
    address: AtomicPtr<c_void>,
}

impl Symbol {
    const fn new(name: &'static CStr) -> Self {
        Self {
            name,
            address: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// None: libc does not have it.
    fn address(&self) -> Option<*mut c_void> {
        let known = self.address.load(Ordering::Relaxed);
        let address = if known.is_null() { self.look() } else { known };
        (address != MISSING).then_some(address)
    }

    #[cold]
    fn look(&self) -> *mut c_void {
        let errno = crate::errno::Kept::new();
        // SAFETY: the name is a C string; dlsym(3) may be called at any time.
        let mut address = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr()) };
        if address.is_null() {
            // Those of old programs have no default version.
            let version = if cfg!(target_arch = "x86_64") {
                c"GLIBC_2.2.5"
            } else {
                c"GLIBC_2.17"
            };
            // SAFETY: as above.
            address =
                unsafe { libc::dlvsym(libc::RTLD_NEXT, self.name.as_ptr(), version.as_ptr()) };
        }
        if address.is_null() {
            address = MISSING;
        }
        self.address.store(address, Ordering::Relaxed);
        drop(errno);
        address
    }
}

macro_rules! functions {
    ($($name:ident: fn($($argument:ty),*) -> $result:ty;)*) => {
        $(
            /// libc's own. None: it does not have it.
            #[allow(non_snake_case, reason = "it has libc's name")]
            #[inline]
            pub fn $name() -> Option<unsafe extern "C" fn($($argument),*) -> $result> {
                static SYMBOL: Symbol = Symbol::new(
                    // SAFETY of `unwrap`: a name has no NUL; found at compile time.
                    match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                        Ok(name) => name,
                        Err(_) => panic!("a name with a NUL"),
                    }
                );
                SYMBOL.address().map(|address| {
                    // SAFETY: libc's function of this name has this type, but for
                    // arguments that it may not read (`...`).
                    unsafe {
                        std::mem::transmute::<
                            *mut c_void,
                            unsafe extern "C" fn($($argument),*) -> $result,
                        >(address)
                    }
                })
            }
        )*
    };
}

for_each_symbol!(functions);
