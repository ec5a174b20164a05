//! Every figure from made-up numbers, compared with its stored picture.
//!
//! `TANGRAM_UPDATE_PICTURES=1 cargo test -p tangram-report` stores them anew; look at them before you commit them.

#![allow(clippy::unwrap_used)] // a test that cannot go on may panic

use resvg::tiny_skia::Pixmap;
use std::path::Path;
use tangram_core::GeneScore;
use tangram_report::charts::{self, GenePanel, Group, Term};
use tangram_report::intervals::{Band, Held, intervals};
use tangram_report::several::{self, Bar, BarKind};
use tangram_report::{
    Figure, Panel, PictureError, Places, Profile, Scale, Section, Tissue, category_map,
    registered_section, type_colors, value_maps,
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
fn charts_of_several_runs() {
    let runs = |n: usize| -> (Vec<Group>, Vec<Vec<f64>>) {
        let run = |r: usize| Group {
            name: format!("seed-{r} <of a sweep>"),
            values: (0..300)
                .map(|i| 0.2 + 0.05 * r as f64 + 0.4 * noise(i))
                .collect(),
        };
        let alike = |i: usize, j: usize| match i == j {
            true => 1.0,
            false => 0.3 + 0.6 * noise(i.min(j) * n + i.max(j)),
        };
        let rows = (0..n).map(|i| (0..n).map(|j| alike(i, j)).collect());
        ((0..n).map(run).collect(), rows.collect())
    };
    for n in [3, 20] {
        let (runs, alike) = runs(n);
        let about = "probability that two runs share, mean over 300 cells";
        let figure = several::agreement(&runs, &alike, about);
        check(&format!("agreement_{n}"), figure);
    }
    let bar = |name: &str, number, kind| Bar {
        name: name.to_owned(),
        number,
        kind,
    };
    let tasks = [
        bar("done", 14, BarKind::Good),
        bar("running", 0, BarKind::Open),
        bar("not begun", 5, BarKind::Open),
        bar("failed: out of memory", 2, BarKind::Bad),
    ];
    let attempts = [
        bar("with a result", 14, BarKind::Good),
        bar("out of memory", 3, BarKind::Bad),
    ];
    let seconds: Vec<f64> = (0..60).map(|i| 4.0 + noise(i) * noise(i + 60)).collect();
    let heading = "loo: 14 of 21 tasks, 60 of 84 folds, 5 min of training";
    let figure = several::progress(heading, "fold", &tasks, &seconds, &attempts);
    check("progress", figure);
    let folds: Vec<(f64, f64)> = (0..20)
        .map(|i| ([0.1, 0.25, 0.5, 0.75][i % 4], i))
        .map(|(share, i)| (share, 0.3 + 0.3 * share + 0.08 * noise(i)))
        .collect();
    check("fractions", several::fractions(&folds, 249));
}

#[test]
fn prediction_intervals() {
    let bands: Vec<Band> = (0..20)
        .map(|k| {
            let predicted = 0.1 * f64::from(k + 1);
            let at = |q: f64| q * predicted * (1.0 + 0.1 * noise(k as usize));
            Band {
                predicted,
                measured: [0.0, at(0.4), at(0.9), at(1.5), at(2.4)],
            }
        })
        .collect();
    let held = Held {
        ninety: 0.893,
        fifty: 0.512,
    };
    check("intervals", intervals(&bands, held, 249));
    assert!(intervals(&bands[..1], held, 249).is_err());
}

#[test]
fn voxels_over_an_image_of_the_tissue() {
    let (width, height) = (300usize, 260usize);
    let rgb = (0..width * height).flat_map(|at| {
        let (x, y) = (at % width, at / width);
        let tissue = (x as f64 - 150.0).hypot(y as f64 - 130.0) < 115.0;
        match tissue {
            true => [190, (90 + 60 * (x / 12 % 2)) as u8, (150 + y / 4) as u8],
            false => [240, 240, 240],
        }
    });
    let tissue = Tissue::new((width, height), rgb.collect(), 10.0).unwrap();
    let lattice = hexagons();
    // Spots of 0.55 of their distance.
    let inside: Vec<(f64, f64)> = lattice
        .x()
        .iter()
        .zip(lattice.y())
        .map(|(x, y)| (x + 3.0, y + 4.0))
        .filter(|(x, y)| (x - 15.0).hypot(y - 13.0) < 11.0)
        .collect();
    let (x, y) = inside.into_iter().unzip();
    let places = Places::new(x, y).unwrap();
    let apart = Places::new(vec![900.0, 901.0], vec![900.0, 900.0]).unwrap();
    assert!(apart.over(tissue.clone(), 0.55).tissue().is_none());
    let places = places.over(tissue, 0.55);
    let (a, b) = (hill(&places, 0.3), hill(&places, 0.9));
    let panel = |title, values| Panel {
        title,
        note: "",
        values,
    };
    let panels = [panel("one", &a), panel("two", &b)];
    let figure = value_maps(&places, &panels, "Over the tissue", Scale::Own);
    check("values_tissue", figure);
}

#[test]
fn cells_in_their_spots() {
    let spots = hexagons();
    let middles = spots.x().iter().copied().zip(spots.y().iter().copied());
    let middles: Vec<(f64, f64)> = middles.filter(|(x, y)| *x < 9.0 && *y < 6.0).collect();
    // Up to six cells in each spot, and some in none.
    let cells = (0..6 * middles.len()).filter_map(|k| {
        let (x, y) = middles[k / 6];
        let off = |k: usize| 0.5 * (noise(k) - 0.5);
        let place = (x + off(2 * k), y + off(2 * k + 1));
        (k % 6 <= k / 6 % 7).then_some(place)
    });
    let (x, y): (Vec<f64>, Vec<f64>) = cells.unzip();
    let codes: Vec<Option<u32>> = (0..x.len())
        .map(|i| (i % 9 > 0).then_some(if y[i] > 3.0 { 0 } else { (i % 3) as u32 }))
        .collect();
    let places = Places::new(x, y).unwrap().in_spots(&middles, 0.55);
    let names = ["L2/3 IT", "Sst", "Astro"].map(str::to_owned);
    let heading = "Cells in their spots";
    let figure = category_map(&places, &codes, &names, &type_colors(3, None), heading);
    check("cells_in_spots", figure);
}

#[test]
fn a_section_in_its_atlas() {
    let [width, height] = [220usize, 160usize];
    let at = |k: usize| {
        let (x, y) = ((k % width) as f64 - 110.0, (k / width) as f64 - 80.0);
        (x / 100.0).hypot(y / 70.0)
    };
    let ring = |r: f64| (r < 1.0).then_some(if r < 0.5 { 2 } else { 1 });
    let classes: Vec<u8> = (0..width * height)
        .map(|k| match k % width {
            60..70 => 255,
            _ => ring(at(k) * 1.04).unwrap_or(0),
        })
        .collect();
    let regions: Vec<u32> = (0..width * height)
        .map(|k| ring(at(k)).map_or(0, |r| u32::from(r) + 10 * ((k % width) as u32 / 110)))
        .collect();
    let size = [66usize, 40usize];
    let inside: Vec<bool> = (0..size[0] * size[1])
        .map(|k| ((k / 40) as f64 / 33.0 - 1.0).hypot((k % 40) as f64 / 20.0 - 1.0) < 1.0)
        .collect();
    let names = ["outside", "cortex", "a <class> & more", "unseen"].map(str::to_owned);
    let section = Section {
        heading: "section1: 5,100 µm from the anterior end",
        size: [width, height],
        classes: &classes,
        names: &names,
        dice: &[None, Some(0.93), Some(0.871), None],
        regions: &regions,
        pixel_um: 50.0,
        profile: Profile {
            size,
            inside: &inside,
            voxel_um: 200.0,
            plane: [(5_000.0, 0.0), (5_600.0, 8_000.0)],
        },
    };
    check("section", registered_section(&section));
    let short = Section {
        regions: &regions[1..],
        ..section
    };
    assert!(registered_section(&short).is_err());
}

#[test]
fn nothing_to_show_is_an_error() {
    assert!(several::fractions(&[], 1).is_err());
    assert!(several::progress("", "fold", &[], &[], &[]).is_err());
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
