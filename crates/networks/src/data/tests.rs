use super::*;
use tangram_atlas::import;
use tangram_atlas::synthetic::brain;
use tangram_atlas::synthetic_files::write_sources;
use tangram_store::Existing;

fn planes() -> (tempfile::TempDir, AtlasPlanes) {
    let folder = tempfile::tempdir().unwrap();
    let sources = write_sources(folder.path(), &brain(200.0)).unwrap();
    let store = folder.path().join("atlas.zarr");
    import(&sources, &store, Existing::Refuse).unwrap();
    let planes = AtlasPlanes::of_atlas(&Atlas::open(&store).unwrap(), 48).unwrap();
    (folder, planes)
}

#[test]
fn images_do_not_depend_on_threads_or_on_each_other() {
    let (_folder, planes) = planes();
    let draw = |numbers| {
        let draw = planes.samples(3, numbers, Share::Training, 48, &Variety::IMAGES);
        draw.unwrap()
    };
    let all = draw(0..8);
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(1)
        .build()
        .unwrap();
    assert_eq!(pool.install(|| draw(0..8)), all);
    assert_eq!(draw(5..6)[0], all[5]);
    assert_ne!(all[0].image, all[1].image);
    for sample in &all {
        assert!(sample.image.iter().all(|v| (0.0..=1.0).contains(v)));
        let classes = sample.classes.iter().filter(|c| has_class(**c));
        assert!(
            classes
                .clone()
                .all(|c| usize::from(*c) < planes.class_names().len())
        );
        assert!(
            classes.filter(|c| **c != BACKGROUND).count() > 100,
            "tissue"
        );
    }
}

#[test]
fn shares_do_not_meet() {
    let extent = [13_200.0, 8000.0, 11_400.0];
    let blocks = Blocks::along(extent);
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let (mut tilted, mut deepest) = (0, 0.0_f64);
    for _ in 0..2000 {
        for share in [Share::Training, Share::HeldOut] {
            let plane = blocks.draw(&mut rng, share, 6.0);
            let corners = [-0.5, 0.5].map(|v| [-0.5, 0.5].map(|u| [u * extent[2], v * extent[1]]));
            let depths = corners
                .into_iter()
                .flatten()
                .map(|place| plane.point(place)[0]);
            let (low, high) = depths.fold((f64::MAX, f64::MIN), |(l, h), d| (l.min(d), h.max(d)));
            let within = |[first, last]: &[f64; 2]| low >= *first && high <= *last;
            let meets = |[first, last]: &[f64; 2]| low < *last && high > *first;
            match share {
                Share::HeldOut => assert!(blocks.cores_um().iter().any(within)),
                Share::Training => {
                    assert!(!blocks.cores_um().iter().any(meets));
                    tilted += usize::from(plane.pitch_deg.abs() > 2.0);
                    deepest = deepest.max(plane.depth_um);
                }
            }
        }
    }
    assert!(tilted > 300 && deepest > 12_000.0, "{tilted} {deepest}");
}

#[test]
fn an_image_never_meets_itself() {
    let (_folder, planes) = planes();
    let pairs = planes
        .pairs(9, 0..20, Share::HeldOut, 32, &Variety::IMAGES)
        .unwrap();
    for [a, b] in pairs {
        assert!((a.plane.depth_um - b.plane.depth_um).abs() >= APART_UM);
    }
}

#[test]
fn only_masks_for_planes_have_wrong_classes() {
    let plain = Damage::draw(&mut ChaCha8Rng::seed_from_u64(4), 9, false);
    for i in 0..400 {
        let at = [i % 20, i / 20].map(|k| k as f64 / 20.0 - 0.5);
        assert_eq!(plain.class(at, 7), 7);
    }
    let wrong = (0..40).any(|seed| {
        let damage = Damage::draw(&mut ChaCha8Rng::seed_from_u64(seed), 9, true);
        (0..400).any(|i| damage.class([i % 20, i / 20].map(|k| k as f64 / 20.0 - 0.5), 7) != 7)
    });
    assert!(wrong);
}
