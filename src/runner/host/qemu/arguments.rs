//! QEMU's command line.

use std::path::Path;

use super::disk::Disk;
use super::files::{CONSOLE, INITRAMFS, KERNEL, LINK, absolute, doubled};
use super::plugin::Plugin;
use crate::guest::protocol::PORT_NAME;
use crate::runner::host::accel::Accel;

/// What the command line is made of.
#[derive(Debug, Clone)]
pub struct QemuConfig<'a> {
    /// The program; the one in PATH where there is none.
    pub program: Option<&'a Path>,
    /// The directory that QEMU works in.
    pub dir: &'a Path,
    /// The plugin that watches its stores.
    pub plugin: Option<&'a Plugin>,
    /// What executes the guest's instructions.
    pub accel: Accel,
    /// The guest's memory.
    pub memory_mib: u32,
    /// The guest's CPUs.
    pub cpus: u32,
    /// The guest's disks.
    pub disks: &'a [Disk],
    /// Words added to the kernel's command line.
    pub append: &'a str,
    /// Words behind all others.
    pub more: &'a [String],
    /// A restart in the guest restarts it; otherwise it ends QEMU.
    pub allow_reboot: bool,
}

/// Who talks to the guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Front {
    /// The runner, with the agent in the guest; the console goes to a file.
    Agent,
    /// Somebody at the terminal, which is the guest's console.
    Shell,
}

/// QEMU's arguments. Relative paths in them are relative to the boot's directory.
pub fn arguments(config: &QemuConfig<'_>, front: Front) -> Vec<String> {
    let mut args = Args { words: Vec::new(), dir: config.dir };
    args.add("-machine", "q35,memory-backend=mem");
    for word in config.accel.qemu_arguments() {
        args.words.push((*word).to_owned());
    }
    args.add("-smp", config.cpus);
    args.add("-m", format!("{}M", config.memory_mib));
    // A vhost-user backend sees the guest's memory only where it is shared.
    args.add(
        "-object",
        format!("memory-backend-memfd,id=mem,size={}M,share=on", config.memory_mib),
    );
    args.add("-nodefaults", "");
    args.add("-no-user-config", "");
    args.add("-display", "none");
    if !config.allow_reboot {
        args.add("-no-reboot", "");
    }
    match front {
        Front::Agent => {
            args.agent();
            if let Some(plugin) = config.plugin {
                let shared = doubled(&plugin.shared.display().to_string());
                args.add("-plugin", plugin.words(&format!("shared={shared}")));
            }
        }
        Front::Shell => args.add("-serial", "mon:stdio"),
    }
    args.add("-device", "virtio-rng-pci");
    for (index, disk) in config.disks.iter().enumerate() {
        args.disk(index, disk);
    }
    args.add("-kernel", KERNEL);
    args.add("-initrd", INITRAMFS);
    args.add("-append", kernel_command_line(config.append));
    args.words.extend_from_slice(config.more);
    args.words
}

/// `panic=-1` restarts at once, which ends QEMU; a module missing its hardware must not wait.
/// `no_timer_check`: on a busy machine a guest under TCG gets its ticks so late that the kernel's own
/// check of the timer would panic, and an innocent kernel would count as one that does not boot.
fn kernel_command_line(more: &str) -> String {
    format!("console=ttyS0 panic=-1 no_timer_check {more}").trim_end().to_owned()
}

struct Args<'a> {
    words: Vec<String>,
    dir: &'a Path,
}

impl Args<'_> {
    fn add(&mut self, option: &str, value: impl ToString) {
        self.words.push(option.to_owned());
        let value = value.to_string();
        if !value.is_empty() {
            self.words.push(value);
        }
    }

    fn agent(&mut self) {
        self.add("-chardev", format!("file,id=console,path={CONSOLE}"));
        self.add("-serial", "chardev:console");
        self.add("-device", "virtio-serial-pci");
        self.add("-chardev", format!("socket,id=link,path={LINK},server=on,wait=off"));
        self.add("-device", format!("virtserialport,chardev=link,name={PORT_NAME}"));
    }

    fn disk(&mut self, index: usize, disk: &Disk) {
        match disk {
            Disk::VhostUserBlk { socket, queues } => {
                self.chardev(index, socket);
                // Left out, QEMU asks for a queue per CPU and refuses a backend with fewer.
                self.add(
                    "-device",
                    format!("vhost-user-blk-pci,chardev=disk{index},num-queues={queues}"),
                );
            }
            Disk::VhostUserScsi { socket, queues, t10_pi } => {
                let t10_pi = if *t10_pi { "on" } else { "off" };
                self.chardev(index, socket);
                self.add(
                    "-device",
                    format!(
                        "vhost-user-scsi-pci,id=hba{index},chardev=disk{index},num_queues={queues},t10_pi={t10_pi}"
                    ),
                );
            }
            Disk::File { path, read_only } => {
                let (path, read_only) = (self.path(path), if *read_only { "on" } else { "off" });
                self.add(
                    "-drive",
                    format!("if=none,id=disk{index},format=raw,read-only={read_only},file={path}"),
                );
                self.add("-device", format!("virtio-blk-pci,drive=disk{index}"));
            }
        }
    }

    /// A path inside an option, where a comma would end the value; as short as it can be.
    fn path(&self, path: &Path) -> String {
        // QEMU works in the boot's directory: what is relative already means a file of it.
        let path = if path.is_relative() { self.dir.join(path) } else { path.to_owned() };
        let path = absolute(&path);
        let short = path.strip_prefix(absolute(self.dir)).unwrap_or(&path);
        doubled(&short.display().to_string())
    }

    fn chardev(&mut self, index: usize, socket: &Path) {
        self.add("-chardev", format!("socket,id=disk{index},path={}", self.path(socket)));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small guest under TCG.
    pub(crate) fn config<'a>(dir: &'a Path, disks: &'a [Disk], append: &'a str) -> QemuConfig<'a> {
        QemuConfig {
            program: None,
            dir,
            plugin: None,
            accel: Accel::Tcg,
            memory_mib: 512,
            cpus: 2,
            disks,
            append,
            more: &[],
            allow_reboot: false,
        }
    }

    #[test]
    fn a_plugin_is_the_agents_guests_alone() {
        let plugin = Plugin { library: "/a,b/lib.so".into(), shared: "/s".into(), interface: None };
        let config = QemuConfig { plugin: Some(&plugin), ..config(Path::new("/out"), &[], "") };
        let line = |front| arguments(&config, front).join(" ");
        assert!(line(Front::Agent).contains("-plugin /a,,b/lib.so,shared=/s"));
        assert!(!line(Front::Shell).contains("-plugin"));
    }

    #[test]
    fn memory_is_shared_and_queues_are_named() {
        let disks = [
            Disk::VhostUserBlk { socket: "/run/a,b".into(), queues: 3 },
            Disk::VhostUserScsi { socket: "/out/1/s".into(), queues: 2, t10_pi: true },
        ];
        let line = arguments(&config(Path::new("/out/1"), &disks, "x=1"), Front::Agent).join(" ");
        for part in [
            "memory-backend-memfd,id=mem,size=512M,share=on",
            "-accel tcg,thread=multi -cpu max",
            "-chardev socket,id=disk0,path=/run/a,,b",
            "vhost-user-blk-pci,chardev=disk0,num-queues=3",
            "-chardev socket,id=disk1,path=s ",
            "vhost-user-scsi-pci,id=hba1,chardev=disk1,num_queues=2,t10_pi=on",
            "-no-reboot",
            "panic=-1 no_timer_check x=1",
        ] {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
}
