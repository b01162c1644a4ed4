//! A guest that writes versions of its slots, and knows which one each of them has to have.

use crate::kit::guest::{Sent, bit};
use crate::kit::scsi::{Call, Load as Payload, REQUEST, ScsiGuest, T10_PI, lun, ten};
use crate::kit::*;

/// 4 KiB each, on the disk of 1 MiB that the kit makes.
const SLOTS: u64 = 64;
const BYTES: usize = 4096;
const SECTORS: u64 = 8;

/// A place on the disk, and the last version that was written there.
#[derive(Debug, Clone, Copy)]
pub struct Slot {
    number: u64,
    version: Option<u64>,
}

impl Slot {
    pub fn all() -> Vec<Slot> {
        (0..SLOTS).map(|number| Slot { number, version: None }).collect()
    }

    fn content(self) -> Option<Vec<u8>> {
        self.version.map(|version| pattern(version, BYTES))
    }
}

/// The front end that lives on.
pub enum Load {
    Blk(Box<Guest>),
    Scsi(Box<ScsiGuest>),
}

/// A write on its way.
pub enum Write {
    Blk { sent: Sent, slot: usize },
    Scsi { head: u16, call: Box<Call>, slot: usize },
}

fn plug(scsi: bool) -> Plug {
    let without = bit(VIRTIO_RING_F_EVENT_IDX) | if scsi { bit(T10_PI) } else { 0 };
    let queues = if scsi { 4 } else { 2 };
    Plug { queues, ring_size: 128, without, in_flight: true, ..Plug::default() }
}

impl Load {
    pub fn plug(daemon: &Daemon, scsi: bool) -> Load {
        let guest = daemon.plug(plug(scsi));
        if !scsi {
            return Load::Blk(Box::new(guest));
        }
        let mut guest = ScsiGuest::over(guest);
        // Power on.
        assert_eq!(guest.ask(&[0; 6], 0).codes(), (6, 0x29, 0));
        Load::Scsi(Box::new(guest))
    }

    /// A second guest on a daemon that had one before.
    pub fn plug_next(daemon: &Daemon, scsi: bool) -> Load {
        let guest = daemon.plug(plug(scsi));
        if scsi { Load::Scsi(Box::new(ScsiGuest::over(guest))) } else { Load::Blk(Box::new(guest)) }
    }

    pub fn reconnect(&mut self, daemon: &Daemon) {
        match self {
            Load::Blk(guest) => guest.reconnect_quietly(&daemon.socket(), &plug(false)),
            Load::Scsi(scsi) => scsi.guest.reconnect_quietly(&daemon.socket(), &plug(true)),
        }
    }

    /// Starts up to 20 writes of different slots, each a new version.
    pub fn write_some(&mut self, slots: &mut [Slot], random: &mut Random) -> Vec<Write> {
        let (first, count) = (random.below(SLOTS) as usize, 1 + random.below(20) as usize);
        let chosen: Vec<usize> = (0..count).map(|i| (first + 3 * i) % slots.len()).collect();
        let mut sent = Vec::new();
        for index in chosen {
            slots[index].version = Some(random.next());
            sent.push(self.write(slots[index], index, random));
        }
        sent
    }

    fn write(&mut self, slot: Slot, index: usize, random: &mut Random) -> Write {
        let bytes = slot.content().unwrap();
        match self {
            Load::Blk(guest) => {
                let draft = Draft::write(&guest.memory, SECTORS * slot.number, &bytes);
                let sent = guest.send(random.below(2) as usize, draft);
                Write::Blk { sent, slot: index }
            }
            Load::Scsi(scsi) => {
                let (head, call) = send(scsi, slot, &bytes);
                Write::Scsi { head, call, slot: index }
            }
        }
    }

    /// How many have no answer yet; nobody is there to give one.
    pub fn unanswered(&self, sent: &[Write]) -> u64 {
        let is_open = |write: &&Write| match write {
            Write::Blk { sent, .. } => sent.draft.status() == request::UNTOUCHED,
            Write::Scsi { call, .. } => call.is_untouched(),
        };
        sent.iter().filter(is_open).count() as u64
    }

    /// Waits for all answers. A unit that was switched on says so once, to a write that is then made again.
    pub fn finish(&mut self, sent: Vec<Write>, slots: &[Slot]) {
        for write in sent {
            match (write, &mut *self) {
                (Write::Blk { sent, .. }, Load::Blk(guest)) => assert_eq!(guest.finish(&sent), OK),
                (Write::Scsi { head, call, slot }, Load::Scsi(scsi)) => {
                    scsi.guest.rings[REQUEST].wait(head);
                    let reply = call.reply();
                    if reply.is_good() {
                        continue;
                    }
                    assert_eq!(reply.codes(), (6, 0x29, 0));
                    let bytes = slots[slot].content().unwrap();
                    let (head, call) = send(scsi, slots[slot], &bytes);
                    scsi.guest.rings[REQUEST].wait(head);
                    assert!(call.reply().is_good());
                }
                _ => unreachable!("a load has one kind of request"),
            }
        }
    }

    /// Waits for all answers, which may be errors: of such a slot nobody knows what it has. Answers how many
    /// those were.
    pub fn finish_some(&mut self, sent: Vec<Write>, slots: &mut [Slot]) -> u64 {
        let mut refused = 0;
        for write in sent {
            let (good, slot) = match (&write, &mut *self) {
                (Write::Blk { sent, slot }, Load::Blk(guest)) => match guest.finish(sent) {
                    OK => (true, *slot),
                    IOERR => (false, *slot),
                    other => panic!("status {other}"),
                },
                (Write::Scsi { head, call, slot }, Load::Scsi(scsi)) => {
                    scsi.guest.rings[REQUEST].wait(*head);
                    (call.reply().is_good(), *slot)
                }
                _ => unreachable!("a load has one kind of request"),
            };
            if !good {
                slots[slot].version = None;
                refused += 1;
            }
        }
        refused
    }

    /// Nobody will know what became of these.
    pub fn forget(&self, sent: &[Write], slots: &mut [Slot]) {
        for write in sent {
            let (Write::Blk { slot, .. } | Write::Scsi { slot, .. }) = write;
            slots[*slot].version = None;
        }
    }

    /// The guest's buffers are gone, as where memory is unplugged. Nothing may be done with it but to drop it.
    pub fn take_memory_away(&mut self) {
        let guest = match self {
            Load::Blk(guest) => guest,
            Load::Scsi(scsi) => &mut scsi.guest,
        };
        guest.memory.shrink(guest.memory.alloc(1, 1), 0);
    }

    /// Reads every slot that was ever written; answers how many.
    pub fn verify(&mut self, slots: &[Slot]) -> u64 {
        let mut verified = 0;
        for slot in slots {
            let Some(wanted) = slot.content() else { continue };
            let bytes = match self {
                Load::Blk(guest) => guest.must_read(SECTORS * slot.number, BYTES),
                Load::Scsi(scsi) => read(scsi, *slot),
            };
            assert!(bytes == wanted, "an acknowledged write of slot {} is lost", slot.number);
            verified += 1;
        }
        verified
    }
}

fn cdb(opcode: u8, slot: Slot) -> [u8; 10] {
    let mut cdb = ten(opcode, 0, 0, SECTORS as u8);
    let lba = u32::try_from(SECTORS * slot.number).unwrap();
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb
}

/// WRITE(10).
fn send(scsi: &mut ScsiGuest, slot: Slot, bytes: &[u8]) -> (u16, Box<Call>) {
    let payload = Payload { out: bytes, ..Payload::default() };
    let call = scsi.call(lun(0), &cdb(0x2A, slot), &payload);
    (scsi.send(REQUEST, &call), Box::new(call))
}

/// READ(10).
fn read(scsi: &mut ScsiGuest, slot: Slot) -> Vec<u8> {
    let mut reply = scsi.ask(&cdb(0x28, slot), BYTES);
    if !reply.is_good() {
        assert_eq!(reply.codes(), (6, 0x29, 0));
        reply = scsi.ask(&cdb(0x28, slot), BYTES);
    }
    assert!(reply.is_good(), "{reply:?}");
    reply.data
}
