//! Laws of grids of ranks.

use super::*;
use crate::Threads;

#[test]
fn sums_run_along_one_axis_only() {
    let shape: GridShape = "2x3x2".parse().unwrap();
    std::thread::scope(|scope| {
        for world in Threads::ranks(12) {
            scope.spawn(move || {
                let rank = world.rank();
                let mut grid = Grid::new(world, "12x1x1".parse().unwrap(), Reduce::Fast).unwrap();
                assert!(grid.rearrange("5x2x1".parse().unwrap()).is_err());
                grid.rearrange(shape).unwrap();
                let (c, v, g) = Grid::<Threads>::place_of(shape, rank);
                let digits = (100 * c + 10 * v + g) as f64;
                let shares = grid.shares(20, 20, 20).unwrap();
                let mut sum = [digits];
                grid.sum_predicted(&mut sum);
                assert_eq!(sum[0], (100 + 2 * (10 * v + g)) as f64);
                let sum = grid.over_voxels(&shares.voxels, vec![vec![digits]]);
                assert_eq!(sum[0], (30 + 3 * (100 * c + g)) as f64);
                let mut sum = [digits as f32];
                grid.sum_logits_single(&mut sum, &mut || ());
                assert_eq!(sum[0], (1 + 2 * (100 * c + 10 * v)) as f32);
                assert!(!grid.all_agree(rank != 7) && grid.all_agree(true));
                let bytes = grid.bytes();
                assert_eq!((bytes[0].1, bytes[2].1), (4, 8));
            });
        }
    });
}

#[test]
fn a_grid_says_what_does_not_fit() {
    assert!("4x2".parse::<GridShape>().is_err() && "0x1x1".parse::<GridShape>().is_err());
    let shape = "1x9x1".parse().unwrap();
    assert!(Grid::new(crate::Solo, shape, Reduce::Fast).is_err());
    let told = Shares::at(shape, Reduce::Fast, [10, 5, 10], 0).unwrap_err();
    assert_eq!(
        told.to_string(),
        "the voxels cannot be divided between 9 ranks, at most 5"
    );
}
