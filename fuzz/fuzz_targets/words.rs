//! Words of the command line and lines of a records file: whatever is accepted reads the same again.
#![no_main]

use dixtrap::inject::Spec;
use dixtrap::record::Line;
use dixtrap::units::{ByteSize, WindowSpec, parse_duration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(window) = text.parse::<WindowSpec>() {
        assert_eq!(window.to_string().parse(), Ok(window));
    }
    if let Ok(spec) = text.parse::<Spec>() {
        assert_eq!(spec.to_string().parse::<Spec>().ok(), Some(spec));
    }
    if let Ok(line) = serde_json::from_str::<Line>(text) {
        let again = serde_json::to_string(&line).expect("it was JSON");
        assert_eq!(serde_json::from_str::<Line>(&again).ok(), Some(line));
    }
    let _ = text.parse::<ByteSize>();
    let _ = parse_duration(text);
});
