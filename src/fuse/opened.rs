//! How a node is open: which opens may share it, and what serves their reads.
//!
//! | way | who reads | other opens of the node |
//! |---|---|---|
//! | `Kernel` | the kernel, from the complete cached file | the same way, by the same backing id |
//! | `Pages` | the daemon, into the kernel's page cache | the same way |
//!
//! The kernel fails an open that breaks this with EIO, so a file whose way should
//! change gets a new node: the open is answered with ESTALE, upon which the kernel
//! looks the path up again. A node that was left this way refuses nothing any more,
//! since its path may be one that leads to no other (`/proc/self/fd/3`).

use crate::attributes::{Seen, Version};
use crate::filling::Course;
use crate::nodes::Node;
use crate::notices;
use crate::passthrough::Backing;
use crate::server::Daemon;
use crate::wire::{OpenOut, fopen};
use cachefs_core::{File, Present};
use memmap2::{Mmap, MmapOptions};
use parking_lot::Mutex;
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A node that is open.
pub struct Opened {
    /// Opens that are not released.
    count: u64,
    /// The origin's file, once it was opened: see `believing`.
    pub fd: Option<Arc<OwnedFd>>,
    way: Way,
}

enum Way {
    /// Its file in the cache is opened when the first read comes.
    Pages(Option<Arc<Served>>),
    Kernel {
        backing: Backing,
        served: Arc<Served>,
    },
}

/// A file whose reads the daemon serves.
pub struct Served {
    pub file: File,
    /// The whole cached file, once it is complete, and of which version.
    map: OnceLock<(Version, Mmap)>,
    /// The cached file, as far as it is there.
    present: Mutex<Option<Arc<Present>>>,
    /// Another one serves its node since it was found to have changed.
    pub is_replaced: AtomicBool,
    pub course: Mutex<Course>,
    /// It is being copied, or was.
    pub is_filling: AtomicBool,
    /// The copy's id; 0: there is none.
    pub fill: AtomicU64,
}

impl Served {
    fn new(file: File) -> Arc<Self> {
        Arc::new(Self {
            file,
            map: OnceLock::new(),
            present: Mutex::default(),
            is_replaced: AtomicBool::new(false),
            course: Mutex::default(),
            is_filling: AtomicBool::new(false),
            fill: AtomicU64::new(0),
        })
    }

    /// The bytes of the whole file, if they are all in the cache.
    pub fn map(&self) -> Option<&[u8]> {
        let version = self.version();
        if self.map.get().is_none() {
            // Another thread's is as good.
            let _same = self.map.set((version, self.map_now(&version)?));
        }
        let (mapped, map) = self.map.get()?;
        (*mapped == version).then_some(map)
    }

    /// What there is of the file in the cache, mapped.
    pub fn present(&self) -> Option<Arc<Present>> {
        let mut present = self.present.lock();
        if !present.as_ref().is_some_and(|one| one.is_current()) {
            *present = self.file.map_present().map(Arc::new);
        }
        present.clone()
    }

    fn map_now(&self, version: &Version) -> Option<Mmap> {
        if version.size == 0 || !self.file.residency().complete {
            return None;
        }
        let descriptor = self.file.descriptor().ok()?;
        let length = usize::try_from(version.size).ok()?;
        // SAFETY: nobody writes to a complete file of the cache, nor makes it shorter.
        // Bytes that its device fails to read are only ever read by the kernel, which
        // answers EFAULT.
        let map = unsafe { MmapOptions::new().len(length).map(&descriptor) };
        // Unless the file has moved on in between.
        map.ok().filter(|_| self.version() == *version)
    }

    /// The version that it serves.
    pub fn version(&self) -> Version {
        Version::from(&self.file.info().token)
    }
}

/// The steps of opening and closing.
impl Daemon {
    /// Opens a node. ESTALE: its path is to be looked up again.
    pub fn open(&self, node: &Arc<Node>, flags: u32) -> Result<OpenOut, Errno> {
        let flags = flags.cast_signed();
        if flags & libc::O_ACCMODE != libc::O_RDONLY || flags & libc::O_TRUNC != 0 {
            return Err(Errno::ROFS);
        }
        let mut opened = node.opened.lock();
        match opened.as_deref_mut() {
            Some(opened) => self.open_again(node, opened),
            None => self.open_first(node, &mut opened),
        }
    }

    fn open_first(
        &self,
        node: &Arc<Node>,
        place: &mut Option<Box<Opened>>,
    ) -> Result<OpenOut, Errno> {
        let (fd, served, mut version) = if self.believes() {
            let served = Served::new(self.open_believing(node)?);
            let version = served.version();
            (None, Some(served), version)
        } else {
            let (fd, seen) = self.tree.open_file(&self.nodes, node)?;
            (Some(Arc::new(fd)), None, seen.version)
        };
        let wants_kernel = version.size >= self.live().passthrough_min && self.passthrough.is_on();
        let way = if wants_kernel {
            let served = match (served, &fd) {
                (None, Some(fd)) => self.serve(node, fd)?,
                (served, _) => served.expect("it has the one or the other"),
            };
            version = served.version();
            match self.passthrough.hand_over(&served.file) {
                // What the kernel was given is of the version that is announced.
                Some(backing) if served.version() == version => Way::Kernel { backing, served },
                _ => Way::Pages(Some(served)),
            }
        } else {
            Way::Pages(served)
        };
        let keep = self.announce(node, version);
        let opened = Opened { count: 1, fd, way };
        let answer = opened.answer(node, keep);
        *place = Some(Box::new(opened));
        Ok(answer)
    }

    fn open_again(&self, node: &Arc<Node>, opened: &mut Opened) -> Result<OpenOut, Errno> {
        let (announced, is_retired) = {
            let state = node.state.lock();
            (state.version, state.is_retired)
        };
        let version = match self.version_now(node) {
            Ok(version) => Some(version),
            Err(Errno::STALE) => None,
            Err(errno) => return Err(errno),
        };
        let is_same = version == Some(announced);
        let may_stay = match &opened.way {
            Way::Kernel { .. } => is_same,
            Way::Pages(served) => version.is_some() && !self.should_be_kernels(served.as_deref()),
        };
        if !may_stay && !is_retired {
            node.state.lock().is_retired = true;
            return Err(Errno::STALE);
        }
        let mut keep = true;
        if let (Way::Pages(_), Some(version)) = (&opened.way, version)
            && !is_same
        {
            opened.start_anew();
            keep = self.announce(node, version);
        }
        opened.count += 1;
        Ok(opened.answer(node, keep))
    }

    /// Whether a file that the daemon serves would now be handed over.
    fn should_be_kernels(&self, served: Option<&Served>) -> bool {
        let is_worth_it = |served: &Served| {
            served.version().size >= self.live().passthrough_min && served.file.residency().complete
        };
        served.is_some_and(is_worth_it) && self.passthrough.is_on()
    }

    /// Opens a file of the origin in the cache.
    fn serve(&self, node: &Node, fd: &Arc<OwnedFd>) -> Result<Arc<Served>, Errno> {
        let path = self.tree.path(&self.nodes, node);
        let file = self.origin.open_descriptor(Arc::clone(fd), &path);
        file.map(Served::new).map_err(|error| {
            tracing::warn!("{error}");
            error.errno()
        })
    }

    /// Notes the version that a node's opens will see, and has the kernel ask for it.
    /// Whether the pages that it has are of that version.
    fn announce(&self, node: &Node, version: Version) -> bool {
        let mut state = node.state.lock();
        let has_old_pages = std::mem::take(&mut state.has_old_pages);
        let is_same = state.version == version;
        state.version = version;
        drop(state);
        if !is_same {
            // It may know nothing of it.
            let _told = notices::forget_attributes(&self.device, node.number);
        }
        is_same && !has_old_pages
    }

    /// What serves the reads of an open node. EBADF: it is not open.
    pub fn served(&self, node: &Arc<Node>) -> Result<Arc<Served>, Errno> {
        let mut opened = node.opened.lock();
        let opened = opened.as_deref_mut().ok_or(Errno::BADF)?;
        match &mut opened.way {
            Way::Pages(Some(served)) | Way::Kernel { served, .. } => Ok(Arc::clone(served)),
            Way::Pages(none) => {
                let served = match &opened.fd {
                    Some(fd) => self.serve(node, fd)?,
                    None => Served::new(self.open_believing(node)?),
                };
                *none = Some(Arc::clone(&served));
                Ok(served)
            }
        }
    }

    /// The attributes of a regular file as its opens see them.
    pub fn see_regular(&self, node: &Arc<Node>) -> Result<Seen, Errno> {
        let mut opened = node.opened.lock();
        let seen = match opened.as_deref() {
            Some(Opened { fd: Some(fd), .. }) => Seen::of(fd)?,
            _ => self.tree.see_named(&self.nodes, node)?,
        };
        let announced = node.state.lock().version;
        if seen.version == announced {
            return Ok(seen);
        }
        if let Some(Opened {
            way: Way::Kernel { .. },
            ..
        }) = opened.as_deref()
        {
            return Ok(seen.with_content_of(&announced));
        }
        if let Some(opened) = opened.as_deref_mut() {
            opened.start_anew();
        }
        self.doubt(node);
        self.moved_on(node, seen.version);
        Ok(seen)
    }

    /// A file whose pages the kernel may have was found to be of another version.
    pub fn moved_on(&self, node: &Node, version: Version) {
        {
            let mut state = node.state.lock();
            state.version = version;
            state.has_old_pages = true;
        }
        self.notices.drop_pages(node.number);
    }

    /// One open of a node is over.
    pub fn release(&self, node: &Node) {
        let mut opened = node.opened.lock();
        let Some(inner) = opened.as_deref_mut() else {
            return;
        };
        inner.count -= 1;
        if inner.count == 0 {
            let last = opened.take();
            // The files are closed when the lock is not held.
            drop(opened);
            if let Some(Way::Pages(Some(served))) = last.as_ref().map(|last| &last.way) {
                self.leave_off(served);
            }
            drop(last);
        }
    }
}

impl Opened {
    /// Opens that are not released.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Whether the kernel reads it without the daemon.
    pub fn is_the_kernels(&self) -> bool {
        matches!(self.way, Way::Kernel { .. })
    }

    /// The origin's file.
    pub fn fd(&mut self, daemon: &Daemon, node: &Node) -> Result<Arc<OwnedFd>, Errno> {
        match &self.fd {
            Some(fd) => Ok(Arc::clone(fd)),
            None => {
                let (fd, _) = daemon.tree.open_file(&daemon.nodes, node)?;
                Ok(Arc::clone(self.fd.insert(Arc::new(fd))))
            }
        }
    }

    /// What serves its reads, if there were any.
    pub fn served(&self) -> Option<&Arc<Served>> {
        match &self.way {
            Way::Pages(served) => served.as_ref(),
            Way::Kernel { served, .. } => Some(served),
        }
    }

    /// What OPEN is answered.
    fn answer(&self, node: &Node, keep: bool) -> OpenOut {
        let (flags, backing) = match &self.way {
            // Together with others, the open would fail.
            Way::Kernel { backing, .. } => (fopen::PASSTHROUGH, backing.id()),
            Way::Pages(_) if keep => (fopen::KEEP_CACHE, 0),
            Way::Pages(_) => (0, 0),
        };
        OpenOut {
            handle: node.number,
            flags: flags | fopen::NOFLUSH,
            backing,
        }
    }

    /// Has the next read open the file's present version.
    fn start_anew(&mut self) {
        if let Way::Pages(served) = &mut self.way
            && let Some(before) = served.take()
        {
            before.is_replaced.store(true, Ordering::Release);
        }
    }
}
