//! What a guest tells of owners: JSON lines, over its channel to the runner or, by hand, in a file.

use serde::{Deserialize, Serialize};

use super::area::Area;

/// A line of the guest's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "owners", rename_all = "kebab-case")]
pub enum Told {
    /// What the lines after this one are about. The first line of each telling.
    Of {
        /// The label whose races they explain; all that have no telling of their own where there is none.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        label: Option<String>,
        /// The disk's logical unit, where it is one of a SCSI target.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        lun: Option<u16>,
    },
    /// What the guest's clock shows now.
    Clock {
        /// Microseconds since 1970.
        us: u64,
    },
    /// Whose an area is.
    Area(Area),
}

impl Told {
    /// Reads a line.
    ///
    /// # Errors
    /// Where it is none.
    pub fn read(line: &[u8]) -> Result<Told, serde_json::Error> {
        Ok(match serde_json::from_slice(line)? {
            Told::Area(area) => Told::Area(Area { owner: area.owner.cut(), ..area }),
            told => told,
        })
    }
}

/// How such a line begins: other programs write to the same output.
pub const TOLD: &str = "{\"owners\":";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_known_by_its_beginning() {
        let area = || Told::Area(Area::metadata("directory", 0, 1));
        let of = |label: Option<&str>| Told::Of { label: label.map(Into::into), lun: Some(1) };
        for told in [of(None), of(Some("a")), Told::Clock { us: 7 }, area()] {
            let text = serde_json::to_string(&told).unwrap();
            assert!(text.starts_with(TOLD), "{text}");
            assert_eq!(Told::read(text.as_bytes()).unwrap(), told);
        }
    }

    #[test]
    fn no_owner_has_more_than_a_path_to_say() {
        let long = "ä".repeat(1 << 20);
        let line = format!(
            r#"{{"owners":"area","start":0,"bytes":1,"name":"{long}","kind":"data","path":"{long}"}}"#
        );
        let Told::Area(area) = Told::read(line.as_bytes()).unwrap() else { panic!("no area") };
        let short = "ä".repeat(2048) + "…";
        assert_eq!((area.owner.name, area.owner.path), (short.clone(), Some(short)));
    }
}
