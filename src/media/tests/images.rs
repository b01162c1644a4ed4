//! `dixtrap image` on real files.

use std::fs::{self, File};
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt;

use tempfile::TempDir;

use super::{file, fill, read};
use crate::media::image::{self, Adoption, CheckReport, Image, ImageError};
use crate::media::{Disk, DiskSpec, OpenError};
use crate::pi::{Check, PiType, Tuple};
use crate::units::{BlockCount, BlockSize, ByteSize, Lba};

const MIB: ByteSize = ByteSize(1 << 20);

fn image() -> (TempDir, Image) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.img");
    (folder, Image { path, pi_file: None })
}

fn created(block_size: BlockSize, pi_type: PiType) -> (TempDir, Image) {
    let (folder, image) = image();
    image::create(&image, MIB, block_size, pi_type).unwrap();
    (folder, image)
}

fn spec(image: &Image) -> DiskSpec {
    DiskSpec { size: None, ..file(&image.path) }
}

fn check(image: &Image) -> CheckReport {
    let mut last = BlockCount(0);
    let report = image::check(image, &mut |done, of| {
        assert!(done > last && done <= of, "progress goes on");
        last = done;
    })
    .unwrap();
    assert_eq!(last, report.geometry.blocks);
    report
}

fn counts(report: &CheckReport) -> [u64; 3] {
    [report.verified.0, report.unwritten.0, report.mismatches.0]
}

#[test]
fn create_never_overwrites() {
    let (_folder, image) = created(BlockSize::B4096, PiType::Type3);
    assert_eq!(counts(&check(&image)), [0, 256, 0]);
    let again = || image::create(&image, MIB, BlockSize::B512, PiType::Type1).unwrap_err();
    assert!(matches!(again(), ImageError::Open(OpenError::Exists(_))));
    fs::remove_file(image.pi_path()).unwrap();
    assert!(matches!(again(), ImageError::Open(OpenError::Exists(_))));
    assert!(!image.pi_path().exists());
}

#[test]
fn check_names_the_blocks_that_changed_behind_the_disks_back() {
    for (block_size, pi_type) in
        [(BlockSize::B512, PiType::Type1), (BlockSize::B4096, PiType::Type3)]
    {
        let (_folder, image) = created(block_size, pi_type);
        let disk = Disk::open(&DiskSpec { block_size, pi_type, ..spec(&image) }).unwrap();
        fill(&disk, 10, 20, 0x42);
        drop(disk);
        assert_eq!(counts(&check(&image))[..1], [20]);
        let data = File::options().write(true).open(&image.path).unwrap();
        for lba in [13, 28, 40] {
            data.write_at(&[0x43], lba * block_size.bytes_u64() + 9).unwrap();
        }
        let report = check(&image);
        // Block 40 was never written: nothing is known about it.
        assert_eq!(counts(&report)[0], 18);
        let named: Vec<_> =
            report.first.iter().map(|bad| (bad.lba.0, bad.mismatch.check)).collect();
        assert_eq!(named, [(13, Check::Guard), (28, Check::Guard)]);
    }
}

#[test]
fn check_counts_more_bad_blocks_than_it_names() {
    let (_folder, image) = created(BlockSize::B512, PiType::Type1);
    let disk = Disk::open(&spec(&image)).unwrap();
    // A misplaced write: the data of other blocks with their tuples.
    let (data, tuples) = {
        fill(&disk, 100, 100, 9);
        read(&disk, 100, 100)
    };
    disk.write(Lba(300), &data, &tuples).unwrap();
    drop(disk);
    let report = check(&image);
    assert_eq!(counts(&report), [100, 2048 - 200, 100]);
    assert_eq!(report.first.len(), 20);
    assert_eq!(
        report.first[0].to_string(),
        "lba 300: ref tag does not fit: stored 00000064, computed 0000012c"
    );
}

#[test]
fn check_marks_an_image_clean_that_was_left_in_use() {
    let (_folder, image) = created(BlockSize::B512, PiType::Type1);
    // What a killed process leaves: the bytes while it is open, and no lock.
    let disk = Disk::open(&spec(&image)).unwrap();
    fill(&disk, 0, 5, 5);
    let left = fs::read(image.pi_path()).unwrap();
    drop(disk);
    fs::write(image.pi_path(), left).unwrap();
    let report = check(&image);
    assert!(report.was_in_use && report.marked_clean);
    assert!(!check(&image).was_in_use);
}

#[test]
fn check_refuses_an_image_that_a_daemon_has() {
    let (_folder, image) = created(BlockSize::B512, PiType::Type1);
    let _disk = Disk::open(&spec(&image)).unwrap();
    let error = image::check(&image, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, ImageError::Open(OpenError::InUse(_))));
}

#[test]
fn adopt_protects_data_and_leaves_holes_escaped() {
    let (_folder, image) = image();
    let data = File::create(&image.path).unwrap();
    data.set_len(8 << 20).unwrap();
    // 4 MiB + 100 bytes in the middle: more than one chunk, and a part of a block at both ends.
    data.write_at(&vec![0xA7; (4 << 20) + 100], (1 << 20) + 300).unwrap();
    let adopted = image::adopt(&image, Adoption::default(), &mut |_, _| ()).unwrap();
    let report = check(&image);
    assert_eq!(report.geometry, adopted.geometry);
    assert_eq!(report.mismatches.0, 0);
    assert_eq!(report.verified, adopted.protected);
    assert!(report.verified.0 > 8192, "all data is protected");
    assert!(report.unwritten.0 > 4096, "holes are not: {}", report.unwritten);
    let disk = Disk::open(&spec(&image)).unwrap();
    assert_eq!(read(&disk, 0, 1).1, [Tuple::ESCAPE]);
    assert_ne!(read(&disk, 2048, 1).1, [Tuple::ESCAPE]);
}

#[test]
fn adopt_replaces_only_when_told_and_keeps_the_geometry() {
    let (_folder, image) = created(BlockSize::B4096, PiType::Type2);
    File::options().write(true).open(&image.path).unwrap().write_at(&[1; 9000], 0).unwrap();
    let adopt = |how| image::adopt(&image, how, &mut |_, _| ());
    let before = fs::read(image.pi_path()).unwrap();
    assert!(matches!(adopt(Adoption::default()), Err(ImageError::PiExists(_))));
    assert_eq!(fs::read(image.pi_path()).unwrap(), before);
    let replace = Adoption { replace: true, ..Adoption::default() };
    let adopted = adopt(replace).unwrap();
    assert_eq!(adopted.geometry.block_size, BlockSize::B4096);
    assert_eq!(adopted.geometry.pi_type, PiType::Type2);
    assert_eq!(counts(&check(&image)), [3, 253, 0]);
    let other = Adoption { block_size: Some(BlockSize::B512), ..replace };
    assert_eq!(adopt(other).unwrap().geometry.blocks, BlockCount(2048));
}

#[test]
fn adopt_never_replaces_what_is_not_a_pi_file() {
    let (_folder, image) = image();
    fs::write(&image.path, [1; 1024]).unwrap();
    fs::write(image.pi_path(), "a thesis").unwrap();
    let replace = Adoption { replace: true, ..Adoption::default() };
    let error = image::adopt(&image, replace, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, ImageError::Open(OpenError::NotAPiFile { .. })));
    assert_eq!(fs::read_to_string(image.pi_path()).unwrap(), "a thesis");
    let unprotected = Adoption { pi_type: Some(PiType::None), ..Adoption::default() };
    fs::remove_file(image.pi_path()).unwrap();
    let error = image::adopt(&image, unprotected, &mut |_, _| ()).unwrap_err();
    assert!(matches!(error, ImageError::Unprotected));
}

#[test]
fn dump_prints_tuples_and_verdicts() {
    let (_folder, image) = created(BlockSize::B512, PiType::Type1);
    let disk = Disk::open(&spec(&image)).unwrap();
    disk.write(Lba(1), &[0; 512], &[Tuple::from_bytes([0; 8])]).unwrap();
    disk.write_zeroes(Lba(2), BlockCount(1), false).unwrap();
    drop(disk);
    let mut lines = Vec::new();
    let dump = |lba, count, lines: &mut Vec<String>| {
        image::dump(&image, Lba(lba), BlockCount(count), &mut |block| {
            lines.push(block.to_string());
            if lines.len() < 3 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })
    };
    dump(0, 100, &mut lines).unwrap();
    assert_eq!(
        lines,
        [
            "lba 0 guard ffff app ffff ref ffffffff: no tags",
            "lba 1 guard 0000 app 0000 ref 00000000: ref tag does not fit: stored 00000000, computed 00000001",
            "lba 2 guard 0000 app 0000 ref 00000002: verifies",
        ]
    );
    assert!(matches!(dump(2047, 2, &mut lines), Err(ImageError::Media(_))));
}
