//! Builds again when a file of guest-scripts/ is added, which the macro that embeds them cannot see.

fn main() {
    println!("cargo::rerun-if-changed=guest-scripts");
}
