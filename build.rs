//! Tells the linker where libtorch lies, so that the program starts without `LD_LIBRARY_PATH`.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    for variable in ["LIBTORCH", "LIBTORCH_LIB", "LIBTORCH_USE_PYTORCH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    // Where scripts/install.sh puts the libraries, wherever that is.
    println!("cargo:rustc-link-arg-bins=-Wl,-rpath,$ORIGIN/../lib/tangram");
    let torch = std::env::var_os("CARGO_FEATURE_TORCH").is_some();
    if let Some(lib) = libtorch_lib().filter(|_| torch) {
        println!("cargo:rustc-link-arg-bins=-Wl,-rpath,{}", lib.display());
        // Nothing calls into libtorch's CUDA part by name, so that the linker would leave it out.
        if lib.join("libtorch_cuda.so").is_file() {
            let arguments = [
                &format!("-L{}", lib.display()),
                "-Wl,--push-state,--no-as-needed",
                "-ltorch_cuda",
                "-Wl,--pop-state",
            ];
            for argument in arguments {
                println!("cargo:rustc-link-arg-bins={argument}");
            }
        }
    }
}

/// The folder of libtorch's shared libraries, found the way torch-sys finds it.
fn libtorch_lib() -> Option<PathBuf> {
    if std::env::var_os("LIBTORCH_USE_PYTORCH").is_some() {
        let python = match std::env::var_os("VIRTUAL_ENV") {
            Some(env) => PathBuf::from(env).join("bin/python"),
            None => PathBuf::from("python3"),
        };
        let program =
            "import os, torch; print(os.path.join(os.path.dirname(torch.__file__), 'lib'))";
        let output = Command::new(python).args(["-c", program]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        return output.status.success().then(|| PathBuf::from(text.trim()));
    }
    if let Some(root) = std::env::var_os("LIBTORCH_LIB").or_else(|| std::env::var_os("LIBTORCH")) {
        return Some(PathBuf::from(root).join("lib"));
    }
    None
}
