//! A sweep as a picture: the points with their intervals, the curve and its band, as SVG.

use std::error::Error;

use plotters::prelude::*;

use crate::report::micros_words;

use super::point::Point;
use super::result::Sweep;

const SIZE: (u32, u32) = (900, 560);
/// Steps of the curve.
const STEPS: u32 = 120;
/// Of single repetitions.
const GREY: RGBColor = RGBColor(150, 150, 150);

/// Why there is no picture.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// No point has a measured window.
    #[error("no window was measured, so there is nothing to draw")]
    Empty,
    /// The drawing library.
    #[error("cannot draw the sweep: {0}")]
    Draw(String),
}

/// The picture of a sweep.
///
/// # Errors
/// [`PlotError::Empty`] where no point counts.
pub fn sweep_svg(sweep: &Sweep) -> Result<String, PlotError> {
    let (left, right) = span(sweep).ok_or(PlotError::Empty)?;
    let mut svg = String::new();
    draw(sweep, left, right, &mut svg).map_err(|error| PlotError::Draw(error.to_string()))?;
    Ok(svg)
}

/// The windows to show: all that were measured and the one asked about, with some room.
fn span(sweep: &Sweep) -> Option<(f64, f64)> {
    let measured = sweep.points.iter().filter_map(|point| point.figures.median_us);
    let asked = sweep.estimate.map(|estimate| estimate.window_us);
    let all: Vec<f64> = measured.chain(asked).filter(|w| w.is_finite() && *w > 0.0).collect();
    let least = all.iter().copied().reduce(f64::min)?;
    let most = all.iter().copied().reduce(f64::max)?;
    Some((least / 1.6, most * 1.6))
}

fn draw(sweep: &Sweep, left: f64, right: f64, svg: &mut String) -> Result<(), Box<dyn Error>> {
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("{} on Linux {} ({})", sweep.cell, sweep.kernel, sweep.accel);
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d((left..right).log_scale(), 0.0..105.0)?;
    chart
        .configure_mesh()
        .x_desc("window as measured, median (us)")
        .y_desc("writes that raced (%), each repetition and 95 % of all")
        .x_label_formatter(&|window| format!("{window:.0}"))
        .draw()?;
    if let Some(fit) = &sweep.fit {
        let windows = windows(left, right);
        let curve = windows.iter().filter_map(|w| Some((*w, fit.chance(*w).0? * 100.0)));
        chart
            .draw_series(LineSeries::new(curve, &BLUE))?
            .label("fit: 1 - exp(-rate * window)")
            .legend(|(x, y)| key(x, y, BLUE.to_rgba()));
        let low = windows.iter().map(|w| (*w, fit.chance(*w).1.low * 100.0));
        chart.draw_series(LineSeries::new(low, BLUE.mix(0.35)))?;
        let high = windows.iter().map(|w| (*w, fit.chance(*w).1.high * 100.0));
        chart
            .draw_series(LineSeries::new(high, BLUE.mix(0.35)))?
            .label("95 % of the fit")
            .legend(|(x, y)| key(x, y, BLUE.mix(0.35)));
    }
    for point in &sweep.points {
        for (at, share) in point.spread() {
            chart.plotting_area().draw(&Circle::new((at, share * 100.0), 2, GREY))?;
        }
        let Some((at, share, low, high)) = place(point) else { continue };
        chart.plotting_area().draw(&PathElement::new(vec![(at, low), (at, high)], BLACK))?;
        chart.plotting_area().draw(&Circle::new((at, share), 4, BLACK.filled()))?;
    }
    if let Some(estimate) = sweep.estimate {
        let (at, ends) = (estimate.window_us, estimate.interval);
        let bar = vec![(at, ends.low * 100.0), (at, ends.high * 100.0)];
        chart
            .draw_series([PathElement::new(bar, RED)])?
            .label(format!("estimate for {}", micros_words(Some(at))))
            .legend(|(x, y)| key(x, y, RED.to_rgba()));
        if let Some(chance) = estimate.chance {
            chart.plotting_area().draw(&Circle::new((at, chance * 100.0), 4, RED))?;
        }
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE.filled())
        .border_style(BLACK.mix(0.3))
        .draw()?;
    area.present()?;
    Ok(())
}

/// A line of the key.
fn key(x: i32, y: i32, style: RGBAColor) -> PathElement<(i32, i32)> {
    PathElement::new(vec![(x, y), (x.saturating_add(20), y)], style)
}

/// Where a point lies, in microseconds and percent: its share and the ends of its interval.
fn place(point: &Point) -> Option<(f64, f64, f64, f64)> {
    let share = point.chance?;
    let ends = share.interval;
    Some((point.figures.median_us?, share.share * 100.0, ends.low * 100.0, ends.high * 100.0))
}

/// Windows from `left` to `right`, evenly on a logarithmic scale.
fn windows(left: f64, right: f64) -> Vec<f64> {
    let ratio = right / left;
    (0..=STEPS).map(|step| left * ratio.powf(f64::from(step) / f64::from(STEPS))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::result::tests::sweep;
    use super::*;

    #[test]
    fn the_picture_has_every_point_and_the_curve() {
        let svg = sweep_svg(&sweep()).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"), "{svg}");
        // Two points with four repetitions each, and the estimate; a curve and its two ends.
        assert_eq!(svg.matches("<circle").count(), 2 * (1 + 4) + 1);
        assert!(svg.matches("<polyline").count() >= 3);
        assert!(svg.contains("mmap-rewrite/ext4"));
        for words in ["95 % of the fit", "estimate for 20 us"] {
            assert!(svg.contains(words), "{words}");
        }
    }

    #[test]
    fn nothing_measured_is_no_picture() {
        let mut empty = sweep();
        empty.points.clear();
        empty.estimate = None;
        assert!(matches!(sweep_svg(&empty), Err(PlotError::Empty)));
    }
}
