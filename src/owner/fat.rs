//! FAT12, FAT16, FAT32 and exFAT: what lies before the clusters. Directories are not followed.

use crate::record::{Holds, Structure};

use super::area::{Area, joined};
use super::bytes::{ReadAt, le16, le32};
use super::layout::{Layout, LayoutError};

/// A file system of this family; only what lies before its clusters is known, and its root directory.
#[derive(Debug)]
pub struct Fat {
    name: &'static str,
    areas: Vec<Area>,
}

impl Layout for Fat {
    /// Reads the boot sector.
    fn read(disk: &dyn ReadAt) -> Result<Option<Self>, LayoutError> {
        let boot = disk.read_at(0, 512)?;
        if le16(&boot, 510) != Some(0xAA55) {
            return Ok(None);
        }
        let is =
            |at: usize, word: &[u8]| boot.get(at..).is_some_and(|bytes| bytes.starts_with(word));
        let (name, areas) = if is(3, b"EXFAT   ") {
            ("exfat", exfat(&boot))
        } else if is(54, b"FAT") || is(82, b"FAT32") {
            ("vfat", vfat(&boot))
        } else {
            return Ok(None);
        };
        let areas = joined(areas.ok_or(LayoutError::Damaged("boot sector"))?);
        Ok(Some(Fat { name, areas }))
    }

    fn name(&self) -> &'static str {
        self.name
    }

    fn areas(&self) -> Vec<Area> {
        self.areas.clone()
    }
}

/// Reserved sectors, the tables, then the root directory: of fixed size and place before FAT32, a
/// chain of clusters since.
fn vfat(boot: &[u8]) -> Option<Vec<Area>> {
    let sector = Some(u64::from(le16(boot, 11)?)).filter(|bytes| (512..=4096).contains(bytes))?;
    let reserved = u64::from(le16(boot, 14)?) * sector;
    let small = u64::from(le16(boot, 22)?);
    let table = if small == 0 { u64::from(le32(boot, 36)?) } else { small } * sector;
    let tables = u64::from(*boot.get(16)?).checked_mul(table)?;
    let behind = reserved.checked_add(tables)?;
    let cluster = u64::from(*boot.get(13)?) * sector;
    let (root, bytes) = if small == 0 {
        let number = u64::from(le32(boot, 44)?).checked_sub(2)?;
        (behind.checked_add(number.checked_mul(cluster)?)?, cluster)
    } else {
        (behind, u64::from(le16(boot, 17)?) * 32)
    };
    let entries = Holds::of(Structure::FatDirectoryEntry, 32, 0);
    let mut areas = vec![Area::metadata("boot sectors", 0, reserved)];
    // A table of FAT12 has entries of a byte and a half.
    let holds = match (small, cluster_count(boot, behind, bytes, (sector, cluster))) {
        (0, _) => Some(Holds::of(Structure::Fat32Entry, 4, 0)),
        (_, Some(count)) if count >= 4085 => Some(Holds::of(Structure::Fat16Entry, 2, 0)),
        _ => None,
    };
    for copy in 0..u64::from(*boot.get(16)?) {
        let area = Area::metadata(
            "file allocation table",
            reserved.checked_add(copy.checked_mul(table)?)?,
            table,
        );
        areas.push(holds.map_or_else(|| area.clone(), |holds| area.clone().holding(holds)));
    }
    areas.push(Area::metadata("root directory", root, bytes).holding(entries));
    Some(areas)
}

/// How many clusters there are: what tells FAT12 from FAT16 (Linux, `fat_fill_super`).
fn cluster_count(
    boot: &[u8],
    behind: u64,
    root: u64,
    (sector, cluster): (u64, u64),
) -> Option<u64> {
    let short = u64::from(le16(boot, 19)?);
    let sectors = if short == 0 { u64::from(le32(boot, 32)?) } else { short };
    let data = sectors.checked_mul(sector)?.checked_sub(behind.checked_add(root)?)?;
    data.checked_div(cluster)
}

fn exfat(boot: &[u8]) -> Option<Vec<Area>> {
    let shift = u32::from(*boot.get(108)?);
    let sector = 1_u64.checked_shl(shift).filter(|bytes| (512..=4096).contains(bytes))?;
    let cluster = sector.checked_shl(u32::from(*boot.get(109)?)).filter(|b| *b <= 32 << 20)?;
    let tables = u64::from(le32(boot, 84)?) * u64::from(*boot.get(110)?) * sector;
    let table = u64::from(le32(boot, 80)?) * sector;
    let heap = u64::from(le32(boot, 88)?) * sector;
    let root = u64::from(le32(boot, 96)?).checked_sub(2)?.checked_mul(cluster)?;
    Some(vec![
        Area::metadata("boot sectors", 0, 24 * sector),
        Area::metadata("file allocation table", table, tables).holding(Holds::of(
            Structure::Fat32Entry,
            4,
            0,
        )),
        Area::metadata("root directory", heap.checked_add(root)?, cluster),
    ])
}
