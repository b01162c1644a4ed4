//! Descriptor tables that a guest wrote: the walk ends, every segment is guest memory, and the block
//! device has an answer for what was collected.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use dixtrap::memory::MemoryMap;
use dixtrap::pi::PiType;
use dixtrap::proto::blk::BlkDevice;
use dixtrap::proto::{BeginOutcome, Device, DeviceRequest};
use dixtrap::queue::{Request, collect};
use dixtrap::trap::Arrival;
use dixtrap::units::{BlockSize, QueueIndex};
use dixtrap_fuzz::trap;
use libfuzzer_sys::fuzz_target;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const RAM: usize = 128 << 10;
/// A second region behind a hole, where a chain may go as well.
const FAR: u64 = 1 << 20;

#[derive(Debug, Arbitrary)]
struct Input<'a> {
    table: u16,
    size: u16,
    head: u16,
    memory: &'a [u8],
}

fuzz_target!(|input: Input<'_>| {
    let ranges = [(GuestAddress(0), RAM), (GuestAddress(FAR), RAM)];
    let map: MemoryMap = Arc::new(GuestMemoryMmap::from_ranges(&ranges).expect("memory"));
    let memory = input.memory.get(..RAM).unwrap_or(input.memory);
    map.write_slice(memory, GuestAddress(0)).expect("it fits");
    let Ok(request) = collect(&map, input.table.into(), input.size, input.head) else { return };
    let Request { readable, writable, flaw, resubmitted, token } = request;
    let mut bytes = vec![0; usize::try_from(readable.len()).expect("bounded")];
    readable.copy_out(&mut bytes).expect("collected segments are guest memory");
    let device = BlkDevice::new(trap("blk", PiType::Type1, BlockSize::B512), 1);
    let arrival = Arrival { queue: QueueIndex(0), resubmitted };
    let request = DeviceRequest { arrival, readable, writable, flawed: flaw.is_some() };
    if let Ok(BeginOutcome::Held(held)) = device.begin(request) {
        let _ = device.finish(held);
    }
    token.abandon();
});
