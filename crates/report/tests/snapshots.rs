//! Every figure from made-up numbers, compared with its stored picture.
//!
//! `TANGRAM_UPDATE_PICTURES=1 cargo test -p tangram-report` stores them anew; look at them before you commit them.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use resvg::tiny_skia::Pixmap;
use std::path::Path;
use tangram_core::GeneScore;
use tangram_report::charts::{self, GenePanel, Group, Term};
use tangram_report::{
    Figure, Panel, PictureError, Places, Scale, category_map, type_colors, value_maps,
};

/// Pixels of a stored picture for each of the figure.
const SCALE: f32 = 0.6;
/// Greatest difference of a channel, of 255, that is no difference: rounding of curves on other processors.
const CLOSE: u8 = 24;
/// Share of the pixels that may differ by more.
const MANY: f64 = 0.002;

fn check(name: &str, figure: Result<Figure, PictureError>) {
    let png = figure.unwrap().png(SCALE).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/pictures/{name}.png"));
    if std::env::var_os("TANGRAM_UPDATE_PICTURES").is_some() {
        std::fs::write(&path, &png).unwrap();
    }
    let stored = Pixmap::load_png(&path).unwrap();
    let found = Pixmap::decode_png(&png).unwrap();
    let size = |p: &Pixmap| (p.width(), p.height());
    assert_eq!(size(&found), size(&stored), "{name}");
    let far = |(a, b): &(&[u8], &[u8])| a.iter().zip(*b).any(|(a, b)| a.abs_diff(*b) > CLOSE);
    let pixels = |p: &'static Pixmap| p.data().chunks(4);
    let (found, stored): (&'static Pixmap, &'static Pixmap) =
        (Box::leak(found.into()), Box::leak(stored.into()));
    let different = pixels(found).zip(pixels(stored)).filter(far).count();
    let share = different as f64 / (found.width() * found.height()) as f64;
    if share > MANY {
        let kept = std::env::temp_dir().join(format!("tangram-{name}.png"));
        std::fs::write(&kept, &png).unwrap();
        panic!(
            "{name}: {:.2} % of the pixels differ; see {}",
            share * 100.0,
            kept.display()
        );
    }
}

/// A number between 0 and 1 that looks drawn at random.
fn noise(i: usize) -> f64 {
    let mixed = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64 / (1u64 << 53) as f64
}

fn scattered(n: usize) -> Places {
    let x = (0..n).map(|i| noise(2 * i) * 900.0).collect();
    let y = (0..n).map(|i| noise(2 * i + 1) * 600.0).collect();
    Places::new(x, y).unwrap()
}

fn hexagons() -> Places {
    let (x, y) = (0..20 * 24)
        .map(|i| (i / 24, i % 24))
        .map(|(row, column)| {
            (
                column as f64 + 0.5 * (row % 2) as f64,
                row as f64 * 0.75f64.sqrt(),
            )
        })
        .unzip();
    Places::new(x, y).unwrap()
}

/// A hill at a share of the width.
fn hill(places: &Places, at: f64) -> Vec<f32> {
    let width = places.x().iter().copied().fold(0.0, f64::max);
    let height = |x: &f64| (-((x / width - at) / 0.2).powi(2)).exp() as f32;
    places.x().iter().map(height).collect()
}

#[test]
fn maps_of_values() {
    for (name, places) in [
        ("hexagons", hexagons()),
        ("points", scattered(400)),
        ("raster", scattered(20_000)),
    ] {
        let hills: Vec<Vec<f32>> = (0..5).map(|k| hill(&places, f64::from(k) / 4.0)).collect();
        let titles: Vec<String> = (0..5).map(|k| format!("type {k} & <more>")).collect();
        let panels: Vec<Panel<'_>> = hills
            .iter()
            .zip(&titles)
            .map(|(values, title)| Panel {
                title,
                note: "",
                values,
            })
            .collect();
        check(
            &format!("values_{name}"),
            value_maps(&places, &panels, "Types", Scale::Own),
        );
    }
    let places = hexagons().downwards();
    let (low, high) = (
        hill(&places, 0.2),
        hill(&places, 0.8)
            .iter()
            .map(|v| v * 3.0)
            .collect::<Vec<_>>(),
    );
    let panel = |title, values| Panel {
        title,
        note: "a note",
        values,
    };
    let panels = [panel("low", &low), panel("high", &high)];
    check(
        "values_shared",
        value_maps(&places, &panels, "One scale", Scale::Shared),
    );
}

#[test]
fn maps_of_categories() {
    for (name, places) in [("hexagons", hexagons()), ("raster", scattered(20_000))] {
        let codes: Vec<Option<u32>> = (0..places.len())
            .map(|i| (i % 11 > 0).then(|| (places.x()[i] as u32 + places.y()[i] as u32 / 4) % 22))
            .collect();
        let names: Vec<String> = (0..22).map(|k| format!("type number {k}")).collect();
        let map = category_map(
            &places,
            &codes,
            &names,
            &type_colors(22, None),
            "Most probable type",
        );
        check(&format!("categories_{name}"), map);
    }
}

#[test]
fn genes_measured_above_predicted() {
    let places = scattered(500);
    let (a, b) = (hill(&places, 0.3), hill(&places, 0.6));
    let gene = |name, measured| GenePanel {
        name,
        note: "held out, score 0.81",
        measured,
        predicted: &b,
    };
    let genes = [gene("Slc17a7", Some(&a[..])), gene("Gad1", None)];
    check("genes", charts::genes(&places, &genes, "Genes"));
}

fn groups() -> [Group; 2] {
    let group = |name: &str, n: usize, shift: f64| Group {
        name: name.to_owned(),
        values: (0..n).map(|i| (noise(i) * 0.6 + shift).min(1.0)).collect(),
    };
    [
        group("genes that did not train", 80, 0.1),
        group("training genes", 200, 0.4),
    ]
}

#[test]
fn charts_of_scores() {
    check("distribution", charts::distribution(&groups()));
    check("histograms", charts::histograms(&groups()));
    let scores: Vec<GeneScore> = (0..300)
        .map(|i| GeneScore {
            cosine: noise(i),
            pearson: None,
            sparsity_measured: (1.0 - noise(i)).powf(0.7) * (0.8 + 0.2 * noise(i + 999)),
            sparsity_predicted: 0.0,
        })
        .collect();
    check("sparsity", charts::sparsity(&scores, "genes"));
    let pairs: Vec<(f64, f64)> = (0..200)
        .map(|i| (noise(i) * 0.7, noise(i) * 0.5 + 0.5 * noise(i + 500)))
        .collect();
    check("baseline", charts::baseline(&pairs, "genes"));
    // So many that they become an image.
    let many: Vec<(f64, f64)> = (0..20_000)
        .map(|i| (noise(i), noise(i + 20_000).sqrt()))
        .collect();
    check("baseline_many", charts::baseline(&many, "genes"));
}

#[test]
fn charts_of_the_training() {
    let epochs: Vec<f64> = (1..=50).map(f64::from).collect();
    let term = |name: &str, of: fn(f64) -> Option<f64>| Term {
        name: name.to_owned(),
        values: epochs.iter().map(|e| of(*e)).collect(),
    };
    let terms = [
        term("total", |e| Some(-1.8 + 1.0 / e)),
        term("gene", |e| Some(0.9 - 0.6 / e)),
        term("entropy", |_| None),
        term("density", |e| (e > 10.0).then_some(0.001 / e)),
        term("voxel", |_| Some(0.5)),
    ];
    check("loss", charts::loss(&epochs, &terms));
    let pairs: Vec<(f64, f64)> = (0..400)
        .map(|i| (noise(i), noise(i) * 0.8 + 0.2 * noise(i + 400)))
        .collect();
    check("density", charts::density(&pairs));
    let entropies: Vec<f64> = (0..500)
        .map(|i| 0.3 + 0.4 * noise(i) * noise(i + 500))
        .collect();
    check("entropy", charts::entropy(&entropies, 1_500));
}

#[test]
fn nothing_to_show_is_an_error() {
    assert!(charts::distribution(&[]).is_err());
    assert!(charts::loss(&[], &[]).is_err());
    assert!(charts::density(&[]).is_err());
    let places = hexagons();
    let short = Panel {
        title: "short",
        note: "",
        values: &[1.0],
    };
    assert!(value_maps(&places, &[short], "", Scale::Own).is_err());
    assert!(value_maps(&places, &[], "", Scale::Own).is_err());
    let codes = vec![Some(3); places.len()];
    assert!(
        category_map(
            &places,
            &codes,
            &["only".to_owned()],
            &type_colors(1, None),
            ""
        )
        .is_err()
    );
}

#[test]
fn pictures_are_the_same_twice_and_in_every_format() {
    let places = scattered(30);
    let hill = hill(&places, 0.5);
    let panel = Panel {
        title: "type",
        note: "",
        values: &hill,
    };
    let draw = || value_maps(&places, &[panel], "Twice", Scale::Own).unwrap();
    assert_eq!(draw().png(1.0).unwrap(), draw().png(1.0).unwrap());
    let pdf = draw().pdf().unwrap();
    assert!(pdf.starts_with(b"%PDF") && pdf == draw().pdf().unwrap());
}
