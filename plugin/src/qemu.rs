//! QEMU's functions, looked up by name when the library is loaded: one library for every version.
//!
//! Written from the documentation of the interface (docs/devel/tcg-plugins.rst): names, arguments and what they
//! mean. What a version does not have is `None`.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

/// What QEMU knows this plugin by.
pub type Id = u64;
/// An instruction or a block of them, while it is translated.
pub type Handle = *mut c_void;

/// Called with a block that is translated: `(id, block)`, from version 7 of the interface on `(block, ours)`.
pub type OnTranslate = unsafe extern "C" fn(u64, Handle);
/// Called with a CPU that begins: `(id, cpu)`, from version 7 on `(cpu, ours)`.
pub type OnCpu = unsafe extern "C" fn(u64, u64);
/// Called behind an access: CPU, access, virtual address, what was registered with it.
pub type OnAccess = unsafe extern "C" fn(c_uint, u32, u64, *mut c_void);
/// Called before an instruction: CPU, what was registered with it.
pub type OnRun = unsafe extern "C" fn(c_uint, *mut c_void);

/// What is told about the emulator: the first lines of `qemu_info_t`.
#[derive(Debug)]
#[repr(C)]
pub struct Info {
    /// `x86_64`.
    pub target: *const c_char,
    /// The oldest version of the interface that would do.
    pub oldest: c_int,
    /// The version of the interface.
    pub version: c_int,
    /// A whole machine is emulated.
    pub system: bool,
}

/// A growing array of GLib's, as far as its head is public.
#[derive(Debug)]
#[repr(C)]
pub struct Array {
    /// Its items.
    pub data: *mut u8,
    /// How many there are.
    pub len: c_uint,
}

/// The first two words of `qemu_plugin_reg_descriptor`; later versions have more.
#[derive(Debug)]
#[repr(C)]
pub struct Register {
    /// What it is read by.
    pub handle: Handle,
    /// `rsp`.
    pub name: *const c_char,
}

macro_rules! functions {
    ($($(#[$doc:meta])* $field:ident $name:literal ($($arg:ty),*) $(-> $ret:ty)?;)*) => {
        /// What there is.
        #[derive(Debug)]
        pub struct Functions {
            $($(#[$doc])* pub $field: Option<unsafe extern "C" fn($($arg),*) $(-> $ret)?>,)*
        }

        impl Functions {
            fn find() -> Functions {
                Functions {
                    // SAFETY: a function of this name has this type; a null pointer is `None`.
                    $($field: unsafe { std::mem::transmute::<*mut c_void, Option<unsafe extern "C" fn($($arg),*) $(-> $ret)?>>(symbol($name)) },)*
                }
            }
        }
    };
}

functions! {
    /// Has blocks told that are translated. The last argument is looked at from version 7 on.
    on_translate "qemu_plugin_register_vcpu_tb_trans_cb" (Id, OnTranslate, *mut c_void);
    /// Has CPUs told that begin.
    on_cpu "qemu_plugin_register_vcpu_init_cb" (Id, OnCpu, *mut c_void);
    /// Has an instruction's accesses told: flags, and 2 for stores.
    on_access "qemu_plugin_register_vcpu_mem_cb" (Handle, OnAccess, c_uint, c_uint, *mut c_void);
    /// Has an instruction told before it runs.
    on_run "qemu_plugin_register_vcpu_insn_exec_cb" (Handle, OnRun, c_uint, *mut c_void);
    /// How many instructions a block has.
    instructions "qemu_plugin_tb_n_insns" (Handle) -> usize;
    /// One of them.
    instruction "qemu_plugin_tb_get_insn" (Handle, usize) -> Handle;
    /// Its virtual address at the time of translation.
    virtual_address "qemu_plugin_insn_vaddr" (Handle) -> u64;
    /// Where it is in QEMU's own memory.
    host_address "qemu_plugin_insn_haddr" (Handle) -> *mut c_void;
    /// Its length.
    length "qemu_plugin_insn_size" (Handle) -> usize;
    /// Its bytes: answers where they are; from version 3 on copies them.
    bytes "qemu_plugin_insn_data" (Handle, *mut u8, usize) -> usize;
    /// Whether an access is a store.
    is_store "qemu_plugin_mem_is_store" (u32) -> bool;
    /// The logarithm of its size.
    size "qemu_plugin_mem_size_shift" (u32) -> c_uint;
    /// Its address in hardware.
    hardware "qemu_plugin_get_hwaddr" (u32, u64) -> Handle;
    /// Whether that is a device.
    is_device "qemu_plugin_hwaddr_is_io" (Handle) -> bool;
    /// The guest-physical address; in version 1 the place among all of QEMU's RAM.
    physical "qemu_plugin_hwaddr_phys_addr" (Handle) -> u64;
    /// The registers of the CPU that calls; from version 2 on.
    registers "qemu_plugin_get_registers" () -> *mut Array;
    /// The value of one.
    read "qemu_plugin_read_register" (Handle, *mut Array) -> c_int;
    /// There only up to version 1.
    most_cpus "qemu_plugin_n_max_vcpus" () -> c_int;
    /// Not of the interface, but exported: what version 1 has instead of registers.
    read_for_gdb "x86_cpu_gdb_read_register" (Handle, *mut Array, c_int) -> c_int;
    /// As above.
    cpu "qemu_get_cpu" (c_int) -> Handle;
    /// GLib's.
    item_bytes "g_array_get_element_size" (*mut Array) -> c_uint;
    /// GLib's.
    new_bytes "g_byte_array_new" () -> *mut Array;
    /// GLib's.
    resize_bytes "g_byte_array_set_size" (*mut Array, c_uint) -> *mut Array;
}

fn symbol(name: &str) -> *mut c_void {
    let Ok(name) = std::ffi::CString::new(name) else { return std::ptr::null_mut() };
    // SAFETY: looks a name up among what is loaded.
    unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) }
}

static FUNCTIONS: OnceLock<Functions> = OnceLock::new();

/// QEMU's functions.
pub fn functions() -> &'static Functions {
    FUNCTIONS.get_or_init(Functions::find)
}

/// A C string as bytes; empty where there is none.
///
/// # Safety
/// It is null, or ends with a zero and stays.
pub unsafe fn text<'a>(at: *const c_char) -> &'a [u8] {
    // SAFETY: the caller's word.
    if at.is_null() { &[] } else { unsafe { CStr::from_ptr(at) }.to_bytes() }
}
