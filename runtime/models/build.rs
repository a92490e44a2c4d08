//! Sets `loom` for this crate alone: its dependencies, some of which know the name too, are built
//! as ever.

fn main() {
    println!("cargo::rustc-cfg=loom");
}
