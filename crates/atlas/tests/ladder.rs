//! The ladder in short: sections of the synthetic brain come back to their places.
//!
//! The whole ladder, on the Allen mouse brain, is `examples/ladder.rs`.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use tangram_atlas::ladder::{Errors, METHODS, measure, quantile};
use tangram_atlas::synthetic::{Rung, brain};
use tangram_atlas::{Atlas, ProbabilityPyramid, Volume};

/// Sections of each rung; more would take minutes.
const SECTIONS: u64 = 4;

fn ladder(rung: &str, method: usize) -> Vec<Errors> {
    let brain = brain(100.0);
    let pyramid = ProbabilityPyramid::of_classes(brain.classes.clone(), brain.names, 2);
    let (_, rung) = Rung::LADDER.iter().find(|(name, _)| *name == rung).unwrap();
    let measured = |seed| measure(&pyramid, &brain.classes, rung, seed, METHODS[method]);
    (500..500 + SECTIONS).map(measured).collect()
}

fn median(all: &[Errors], value: impl Fn(&Errors) -> f64) -> f64 {
    let mut values: Vec<f64> = all.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    quantile(&values, 0.5)
}

#[test]
fn whole_sections_find_their_places() {
    // Half a section of this brain has too little in it to tell its depth; the Allen mouse brain's have enough.
    for (name, _) in &Rung::LADDER[..3] {
        let all = ladder(name, 0);
        let (depth, tre) = (median(&all, |e| e.depth_um), median(&all, |e| e.tre_um));
        eprintln!("{name}: depth {depth:.0} µm, target registration error {tre:.0} µm");
        // Two voxels of this coarse brain, whose regions are large and smooth.
        assert!(depth < 200.0 && tre < 250.0, "{name}: {all:#?}");
        for errors in &all {
            let quality = errors.quality.as_ref().unwrap();
            assert!(quality.smallest_jacobian > 0.0);
            assert!(quality.inverse_consistency.max_um < 30.0);
        }
    }
}

#[test]
fn fitting_plane_and_warp_is_better_than_either_alone() {
    let full = median(&ladder("warp", 0), |e| e.tre_um);
    let fixed = median(&ladder("warp", 1), |e| e.tre_um);
    let affine = median(&ladder("warp", 2), |e| e.tre_um);
    assert!(full < fixed && full < affine, "{full} {fixed} {affine}");
}

/// The hardest rungs on the Allen mouse brain, in the store that `TANGRAM_ATLAS_STORE` names.
#[test]
fn the_allen_mouse_brain_is_found() {
    let Some(store) = std::env::var_os("TANGRAM_ATLAS_STORE") else {
        eprintln!("skipped: TANGRAM_ATLAS_STORE names no imported atlas");
        return;
    };
    let atlas = Atlas::open(store.as_ref()).unwrap();
    let pyramid = ProbabilityPyramid::of_atlas(&atlas, 50.0).unwrap();
    let classes: &Volume<u8> = &pyramid.classes;
    // Damaged, and damaged hemisections.
    for (rung, most_depth, most_tre) in [(2, 40.0, 150.0), (3, 100.0, 250.0)] {
        let (name, rung) = Rung::LADDER[rung];
        let all: Vec<Errors> = (0..8)
            .map(|seed| measure(&pyramid, classes, &rung, seed, METHODS[0]))
            .collect();
        let (depth, tre) = (median(&all, |e| e.depth_um), median(&all, |e| e.tre_um));
        eprintln!("{name}: depth {depth:.0} µm, target registration error {tre:.0} µm");
        assert!(
            depth < most_depth && tre < most_tre,
            "{name}: {depth} {tre}"
        );
    }
}
