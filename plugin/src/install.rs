//! What QEMU calls: the library when it is loaded, and its callbacks.

use std::ffi::{c_char, c_int, c_uint, c_void};
use std::fs::OpenOptions;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::decode::{changes_addresses, only_pushes, repeats, stores_nothing};
use crate::layout::{BYTES, MAGIC, VERSION};
use crate::qemu::{Handle, Id, Info, Register, functions, text};
use crate::shared::Shared;
use crate::stores::Watch;

/// Which version of the interface this is built for: QEMU looks at it once the library is loaded, and every
/// version of QEMU takes others.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "QEMU's name")]
pub static qemu_plugin_version: AtomicI32 = AtomicI32::new(1);

/// Run when the library is loaded.
#[used]
#[unsafe(link_section = ".init_array")]
static AT_LOAD: extern "C" fn() = at_load;

/// Chooses the version: QEMU 7.2 takes 0 and 1, 10.0 takes 2 to 4, 11.1 takes 7 alone. Whoever knows which
/// QEMU it is says so.
extern "C" fn at_load() {
    // SAFETY: the name ends with a zero; what is answered stays, for nobody sets variables meanwhile.
    let told = unsafe { text(libc::getenv(c"DIXTRAP_PLUGIN_API".as_ptr())) };
    let told = std::str::from_utf8(told).ok().and_then(|told| told.parse().ok());
    let own = if functions().most_cpus.is_some() { 1 } else { 2 };
    qemu_plugin_version.store(told.unwrap_or(own), Ordering::Relaxed);
}

static WATCH: OnceLock<Watch> = OnceLock::new();
/// Given with what is registered: newer versions hand it on as the second argument, where older ones have
/// something else.
const OURS: *mut c_void = std::ptr::without_provenance_mut(0x64_69_78);

/// Of two arguments the one that is not ours: up to version 6 the second, from version 7 on the first.
fn told(first: u64, second: u64) -> u64 {
    if second == OURS.addr() as u64 { first } else { second }
}

/// Begins: `shared=FILE` names the file that `dixtrapd --watch` made. With `probe=on` it is loaded, and does nothing.
///
/// # Safety
/// QEMU calls it, as its documentation says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn qemu_plugin_install(
    id: Id,
    info: *const Info,
    argc: c_int,
    argv: *const *const c_char,
) -> c_int {
    let words = (0..usize::try_from(argc).unwrap_or(0)).map(|index| {
        // SAFETY: there are so many strings.
        let word = unsafe { text(*argv.add(index)) };
        String::from_utf8_lossy(word).into_owned()
    });
    // SAFETY: QEMU's own.
    let info = unsafe { &*info };
    match begin(id, info, words.collect()) {
        Ok(()) => 0,
        Err(reason) => {
            eprintln!("dixtrap-watch: {reason}");
            1
        }
    }
}

fn begin(id: Id, info: &Info, words: Vec<String>) -> Result<(), String> {
    // SAFETY: QEMU's own text.
    let target = unsafe { text(info.target) };
    if target != b"x86_64" || !info.system {
        return Err("only a whole x86_64 machine can be watched".to_owned());
    }
    if words == ["probe=on"] {
        return Ok(());
    }
    let [word] = &words[..] else { return Err("its one argument is shared=FILE".to_owned()) };
    let path = word.strip_prefix("shared=").ok_or_else(|| format!("{word} is not shared=FILE"))?;
    let shared = map(path).map_err(|error| format!("{path}: {error}"))?;
    let header = shared.header();
    if header.magic.load(Ordering::Acquire) != MAGIC
        || header.version.load(Ordering::Acquire) != VERSION
    {
        return Err(format!("{path} was not made by this version of dixtrapd --watch"));
    }
    let version = info.version;
    let qemu = functions();
    let missing = || "this QEMU has no plugin interface".to_owned();
    let (on_translate, on_cpu) = qemu.on_translate.zip(qemu.on_cpu).ok_or_else(missing)?;
    header.plugin.0.interface.store(u64::from(version.unsigned_abs()), Ordering::Relaxed);
    header.plugin.0.ready.store(1, Ordering::Release);
    WATCH.set(Watch::new(qemu, version, shared)).map_err(|_| "it is loaded twice".to_owned())?;
    // SAFETY: QEMU's functions, called as its documentation wants it.
    unsafe {
        on_translate(id, translated, OURS);
        if qemu.registers.is_some() {
            on_cpu(id, cpu_begins, OURS);
        }
    }
    Ok(())
}

/// Maps the shared file for as long as this process lives.
fn map(path: &str) -> std::io::Result<Shared> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() != BYTES as u64 {
        return Err(std::io::Error::other("it has not the size of a file of dixtrapd --watch"));
    }
    let access = libc::PROT_READ | libc::PROT_WRITE;
    // SAFETY: a new mapping at a place of the kernel's choice.
    let base = unsafe {
        libc::mmap(std::ptr::null_mut(), BYTES, access, libc::MAP_SHARED, file.as_raw_fd(), 0)
    };
    let there = (base != libc::MAP_FAILED).then(|| NonNull::new(base.cast::<u8>())).flatten();
    let base = there.ok_or_else(std::io::Error::last_os_error)?;
    // SAFETY: it was just mapped, and is never unmapped.
    Ok(unsafe { Shared::over(base) })
}

unsafe extern "C" fn accessed(cpu: c_uint, info: u32, address: u64, tag: *mut c_void) {
    if let Some(watch) = WATCH.get() {
        watch.access(cpu, info, address, tag);
    }
}

unsafe extern "C" fn flushed(cpu: c_uint, _: *mut c_void) {
    if let Some(watch) = WATCH.get() {
        watch.flushed(cpu);
    }
}

/// A CPU begins, in its own thread.
unsafe extern "C" fn cpu_begins(first: u64, second: u64) {
    let (Some(watch), Ok(cpu)) = (WATCH.get(), c_uint::try_from(told(first, second) & 0xffff_ffff))
    else {
        return;
    };
    let (Some(registers), Some(item_bytes), Some(new_bytes)) =
        (watch.qemu.registers, watch.qemu.item_bytes, watch.qemu.new_bytes)
    else {
        return;
    };
    let [mut rsp, mut rbp] = [std::ptr::null_mut(); 2];
    // SAFETY: QEMU's and GLib's functions; the list has as many items as it says, each as large as it says.
    let buffer = unsafe {
        let list = registers();
        if list.is_null() {
            return;
        }
        let each = item_bytes(list) as usize;
        for index in 0..(*list).len as usize {
            let register = &*(*list).data.add(index * each).cast::<Register>();
            match text(register.name) {
                b"rsp" => rsp = register.handle,
                b"rbp" => rbp = register.handle,
                _ => {}
            }
        }
        new_bytes()
    };
    watch.begin(cpu, [rsp, rbp], buffer);
}

/// A block was translated.
unsafe extern "C" fn translated(first: u64, second: Handle) {
    let block = std::ptr::with_exposed_provenance_mut(
        told(first, second.expose_provenance() as u64) as usize,
    );
    let Some(watch) = WATCH.get() else { return };
    if let Some(count) = watch.qemu.instructions {
        // SAFETY: QEMU's functions, called as its documentation wants it, with what it handed over.
        for index in 0..unsafe { count(block) } {
            instrument(watch, block, index);
        }
    }
}

/// Has the stores of an instruction told.
fn instrument(watch: &Watch, block: Handle, index: usize) -> Option<()> {
    const STORES: c_uint = 2;
    let qemu = watch.qemu;
    let mut code = [0; 16];
    // SAFETY: QEMU's functions, called as its documentation wants it, with what it handed over.
    unsafe {
        let instruction = qemu.instruction?(block, index);
        let address = qemu.virtual_address?(instruction);
        let is_kernel = address >> 63 == 1;
        let len = qemu.length?(instruction).min(code.len());
        let code = bytes_of(watch, instruction, &mut code, len)?;
        if is_kernel && changes_addresses(code) {
            qemu.on_run?(instruction, flushed, 0, std::ptr::null_mut());
        }
        if stores_nothing(code) || (is_kernel && only_pushes(code)) {
            return None;
        }
        // A program's code is mapped at many addresses, and blocks are shared by all of them: the place in
        // memory tells which it is.
        let place =
            if is_kernel { address } else { code_place(watch, qemu.host_address?(instruction)) };
        // The registers are read (flag 1).
        qemu.on_access?(instruction, accessed, 1, STORES, Watch::tag(place, repeats(code)));
    }
    Some(())
}

/// Where code lies in the RAM's file, one more than that; 0 where it is not known.
fn code_place(watch: &Watch, address: *mut c_void) -> u64 {
    let is_found = watch.ram.is_found(watch.shared.header());
    let place = is_found.then(|| watch.ram.place_of(address.addr())).flatten();
    place.map_or(0, |place| place + 1)
}

/// The bytes of an instruction.
///
/// # Safety
/// QEMU handed the instruction over.
unsafe fn bytes_of<'a>(
    watch: &Watch,
    instruction: Handle,
    into: &'a mut [u8; 16],
    len: usize,
) -> Option<&'a [u8]> {
    let copy = watch.qemu.bytes?;
    // SAFETY: from version 3 on it copies no more than it is asked for; before, the other arguments are not
    // looked at, and it answers where as many bytes are as the instruction is long.
    unsafe {
        let answer = copy(instruction, into.as_mut_ptr(), len);
        if watch.version < 3 {
            let from = std::ptr::with_exposed_provenance::<u8>(answer);
            std::ptr::copy_nonoverlapping(from, into.as_mut_ptr(), len);
        }
    }
    into.get(..len)
}
