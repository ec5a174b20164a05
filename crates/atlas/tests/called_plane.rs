//! A called plane as one more start of a registration.
#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use std::cell::RefCell;
use tangram_atlas::synthetic::{brain, section_at};
use tangram_atlas::{
    Plane, PlaneCaller, PlaneChoice, ProbabilityPyramid, RegisterSettings, Registration,
    SectionMask, WarpChoice, register,
};

const EDGE: usize = 48;

/// Registers a mask with a caller that always calls the same plane.
///
/// # Returns
/// The result, and the mask that the caller saw.
fn with_call(
    pyramid: &ProbabilityPyramid,
    mask: &SectionMask,
    plane: Plane,
) -> (Registration, Vec<u8>) {
    let seen = RefCell::new(Vec::new());
    let call = |mask: &[u8]| {
        seen.replace(mask.to_vec());
        plane
    };
    let settings = RegisterSettings {
        pixel_um: Some(50.0),
        plane: PlaneChoice::Fitted,
        warp: WarpChoice::AffineOnly,
        caller: Some(PlaneCaller {
            edge: EDGE,
            call: &call,
        }),
    };
    let registration = register(pyramid, mask, &settings).unwrap();
    (registration, seen.into_inner())
}

/// The mask turned by a quarter.
fn turned(mask: &SectionMask) -> SectionMask {
    let [width, height] = mask.size();
    let class = |i: usize| mask.classes()[(height - 1 - i % height) * width + i / height];
    SectionMask::new(height, width, (0..width * height).map(class).collect()).unwrap()
}

#[test]
fn the_caller_sees_the_section_upright_and_its_start_can_win() {
    let brain = brain(100.0);
    let pyramid = ProbabilityPyramid::of_classes(brain.classes.clone(), brain.names.clone(), 2);
    // So oblique that coronal planes are poor starts.
    let plane = Plane {
        pitch_deg: 35.0,
        ..Plane::coronal(9000.0, brain.classes.grid.extent_um())
    };
    let truth = section_at(&brain.classes, plane, 50.0).unwrap();
    let (found, seen) = with_call(&pyramid, &truth.mask, plane);
    let called = found.called.unwrap();
    assert_eq!(called.plane, plane);
    assert!(called.won, "{:?}", found.quality.other_starts);
    let fitted = found.transform.parameters().plane;
    assert!(
        (fitted.depth_um - plane.depth_um).abs() < 50.0,
        "{fitted:?}"
    );
    assert!((fitted.pitch_deg - plane.pitch_deg).abs() < 2.0);

    let (_, of_turned) = with_call(&pyramid, &turned(&truth.mask), plane);
    let same = seen.iter().zip(&of_turned).filter(|(a, b)| a == b).count();
    assert!(same * 100 > 97 * EDGE * EDGE, "{same} of {}", EDGE * EDGE);

    let nowhere = Plane {
        depth_um: -5000.0,
        ..plane
    };
    let (found, _) = with_call(&pyramid, &truth.mask, nowhere);
    assert!(!found.called.unwrap().won);
}
