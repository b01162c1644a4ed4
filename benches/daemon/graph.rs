//! Graphs as SVG.

use std::path::Path;

use plotters::prelude::*;

use super::duel::Results;
use super::growth::Growth;

const SIZE: (u32, u32) = (900, 480);

/// IOPS of every server for every kind of work, beside each other.
pub fn servers(results: &Results, path: &Path) -> anyhow::Result<()> {
    let names: Vec<&str> =
        results.values().next().into_iter().flat_map(|r| r.keys()).copied().collect();
    let top = results.values().flat_map(|r| r.values()).map(|f| f.iops).fold(1.0, f64::max);
    let works: Vec<&str> = results.keys().copied().collect();
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("requests per second, one client", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(84)
        .build_cartesian_2d(0.0..works.len() as f64, 0.0..top * 1.1)?;
    let label = |x: &f64| works.get((x - 0.5).round() as usize).map_or("", |work| work).to_owned();
    chart
        .configure_mesh()
        .disable_x_mesh()
        .x_labels(works.len() * 2)
        .x_label_formatter(&|x| {
            if (x.fract() - 0.5).abs() < 0.01 { label(x) } else { String::new() }
        })
        .y_label_formatter(&|y| format!("{:.0}k", y / 1e3))
        .draw()?;
    let width = 0.8 / names.len() as f64;
    for (index, name) in names.iter().enumerate() {
        let color = Palette99::pick(index).filled();
        let bars = results.values().enumerate().filter_map(|(work, figures)| {
            let left = work as f64 + 0.1 + index as f64 * width;
            let iops = figures.get(name)?.iops;
            Some(Rectangle::new([(left, 0.0), (left + width * 0.9, iops)], color))
        });
        chart
            .draw_series(bars)?
            .label(*name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color));
    }
    chart.configure_series_labels().background_style(WHITE).border_style(BLACK).draw()?;
    Ok(area.present()?)
}

/// IOPS against depth, and memory against requests held.
pub fn growth(growth: &Growth, folder: &Path) -> anyhow::Result<()> {
    let depth: Vec<(f64, f64)> =
        growth.depth.iter().map(|s| (s.depth as f64, s.figures.iops / 1e3)).collect();
    line(
        "4k random writes, window 0: thousands a second against depth",
        &depth,
        &folder.join("depth.svg"),
    )?;
    let held: Vec<(f64, f64)> =
        growth.held_10ms.iter().map(|s| (s.depth as f64, s.private_mib)).collect();
    line("4k writes held in a 10 ms window: MiB against depth", &held, &folder.join("held.svg"))
}

fn line(caption: &str, points: &[(f64, f64)], path: &Path) -> anyhow::Result<()> {
    let top = |pick: fn(&(f64, f64)) -> f64| points.iter().map(pick).fold(1.0, f64::max);
    let (right, high) = (top(|p| p.0), top(|p| p.1));
    let area = SVGBackend::new(path, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(caption, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(36)
        .y_label_area_size(64)
        .build_cartesian_2d((1.0..right).log_scale(), 0.0..high * 1.1)?;
    chart.configure_mesh().draw()?;
    chart.draw_series(LineSeries::new(points.iter().copied(), BLUE))?;
    chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, BLUE.filled())))?;
    Ok(area.present()?)
}
