//! The plots, as SVG.

use std::io;
use std::path::Path;

use plotters::coord::Shift;
use plotters::coord::ranged1d::SegmentValue;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::contenders::Kind;
use crate::results::{Results, Spread, in_order};

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Bars that belong together, on a scale of their own.
struct Panel {
    title: String,
    bars: Vec<(String, Spread)>,
}

/// Writes the plots for which there are figures.
///
/// # Errors
/// If one cannot be drawn or written.
pub(crate) fn write(results: &Results, folder: &Path) -> io::Result<()> {
    bars(&folder.join("cpu.svg"), "CPU time per request (median; line: lowest to highest round)", "µs", &cpu(results))?;
    bars(&folder.join("idle.svg"), "Memory of an idle connection", "KiB", &idle(results))?;
    latency(&folder.join("latency.svg"), results)
}

fn cpu(results: &Results) -> Vec<Panel> {
    let workloads = results.workloads().into_iter();
    let panels = workloads.map(|workload| {
        let runs = results.runs.iter().filter(|run| run.workload == workload);
        let contenders = in_order(runs.map(|run| run.contender.as_str()));
        let known = Kind::ALL.map(Kind::name);
        let sorted = known.iter().filter(|name| contenders.contains(name)).copied();
        let all = sorted.chain(contenders.iter().filter(|name| !known.contains(name)).copied());
        let bars = all.filter_map(|name| Some((name.to_owned(), results.spread(workload, name, |run| run.cpu)?)));
        Panel { title: workload.to_owned(), bars: bars.collect() }
    });
    panels.filter(|panel| !panel.bars.is_empty()).collect()
}

fn idle(results: &Results) -> Vec<Panel> {
    let protocols = in_order(results.idle.iter().map(|idle| idle.protocol));
    let panels = protocols.into_iter().map(|protocol| {
        let these = results.idle.iter().filter(|idle| idle.protocol == protocol);
        let bars = these.map(|idle| {
            let size = idle.bytes / 1024.0;
            (idle.contender.clone(), Spread { median: size, low: size, high: size })
        });
        Panel { title: protocol.to_owned(), bars: bars.collect() }
    });
    panels.collect()
}

fn bars(file: &Path, title: &str, unit: &str, panels: &[Panel]) -> io::Result<()> {
    if panels.is_empty() {
        return Ok(());
    }
    let columns = panels.len().min(COLUMNS);
    let rows = panels.len().div_ceil(columns);
    let size = (pixels(columns) * PANEL.0, TITLE + pixels(rows) * PANEL.1);
    let root = SVGBackend::new(file, size).into_drawing_area();
    let area = titled(&root, title)?;
    for (panel, area) in panels.iter().zip(area.split_evenly((rows, columns))) {
        bar_panel(&area, unit, panel)?;
    }
    root.present().map_err(io::Error::other)
}

fn bar_panel(area: &Area<'_>, unit: &str, panel: &Panel) -> io::Result<()> {
    let top = panel.bars.iter().map(|(_, spread)| spread.high).fold(0.0, f64::max).max(1e-3) * 1.18;
    let mut chart = ChartBuilder::on(area);
    chart.margin(12).caption(&panel.title, (FONT, 17)).x_label_area_size(30).y_label_area_size(58);
    let mut chart = chart
        .build_cartesian_2d((0..panel.bars.len().saturating_sub(1)).into_segmented(), 0.0..top)
        .map_err(io::Error::other)?;
    let name = |at: &SegmentValue<usize>| match at {
        SegmentValue::CenterOf(at) => panel.bars.get(*at).map_or(String::new(), |(name, _)| name.clone()),
        SegmentValue::Exact(_) | SegmentValue::Last => String::new(),
    };
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().light_line_style(TRANSPARENT).bold_line_style(RULE).axis_style(AXIS);
    mesh.x_label_formatter(&name).x_labels(panel.bars.len()).y_labels(6).y_desc(unit).label_style((FONT, 14));
    mesh.axis_desc_style((FONT, 14)).draw().map_err(io::Error::other)?;
    for (at, (name, spread)) in panel.bars.iter().enumerate() {
        let end = if at + 1 < panel.bars.len() { SegmentValue::Exact(at + 1) } else { SegmentValue::Last };
        let corners = [(SegmentValue::Exact(at), 0.0), (end, spread.median)];
        let mut bar = Rectangle::new(corners, color(name).filled());
        bar.set_margin(0, 0, 12, 12);
        let middle = SegmentValue::CenterOf(at);
        let line = vec![(middle.clone(), spread.low), (middle.clone(), spread.high)];
        let label = figure(spread.median);
        let style = TextStyle::from((FONT, 14)).pos(Pos::new(HPos::Center, VPos::Bottom));
        let above = EmptyElement::at((middle, spread.high)) + Text::new(label, (0, -4), style);
        chart.draw_series([bar]).map_err(io::Error::other)?;
        chart.draw_series([PathElement::new(line, AXIS.stroke_width(2))]).map_err(io::Error::other)?;
        chart.draw_series([above]).map_err(io::Error::other)?;
    }
    Ok(())
}

fn latency(file: &Path, results: &Results) -> io::Result<()> {
    let mut rates: Vec<u32> = results.latencies.iter().map(|latency| latency.rate).collect();
    rates.dedup();
    if rates.is_empty() {
        return Ok(());
    }
    let size = (LATENCY.0, TITLE + pixels(rates.len()) * LATENCY.1);
    let root = SVGBackend::new(file, size).into_drawing_area();
    let area = titled(&root, "Latency, counted from the intended instant")?;
    for (rate, area) in rates.iter().zip(area.split_evenly((rates.len(), 1))) {
        latency_panel(&area, results, *rate)?;
    }
    root.present().map_err(io::Error::other)
}

/// The x axis is 1/(1-p), logarithmic: each decade is one nine more.
fn latency_panel(area: &Area<'_>, results: &Results, rate: u32) -> io::Result<()> {
    let these = || results.latencies.iter().filter(|latency| latency.rate == rate);
    let values = || these().flat_map(|latency| &latency.percentiles).map(|(_, value)| value.max(1.0));
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(1.0, f64::max));
    let mut chart = ChartBuilder::on(area);
    chart
        .margin(16)
        .caption(format!("{rate} requests/s"), (FONT, 17))
        .margin_right(40)
        .x_label_area_size(48)
        .y_label_area_size(72);
    let ranges = ((1.0..10_000.0).log_scale(), (low * 0.8..high * 1.3).log_scale());
    let mut chart = chart.build_cartesian_2d(ranges.0, ranges.1).map_err(io::Error::other)?;
    let nines = |x: &f64| match *x {
        x if x < 1.5 => "fastest".to_owned(),
        x => format!("p{}", 100.0 - 100.0 / x.round()),
    };
    let time = |y: &f64| if *y < 1000.0 { format!("{y:.0} µs") } else { format!("{:.0} ms", y / 1000.0) };
    let mut mesh = chart.configure_mesh();
    mesh.light_line_style(TRANSPARENT).bold_line_style(RULE).axis_style(AXIS).label_style((FONT, 14));
    mesh.axis_desc_style((FONT, 14)).x_labels(5).y_labels(8).x_label_formatter(&nines).y_label_formatter(&time);
    mesh.x_desc("percentile of the requests").y_desc("latency").draw().map_err(io::Error::other)?;
    for latency in these() {
        let points = latency.percentiles.iter().map(|(at, value)| (100.0 / (100.0 - at), value.max(1.0)));
        let color = color(&latency.contender);
        let line = LineSeries::new(points, color.stroke_width(2));
        let series = chart.draw_series(line).map_err(io::Error::other)?.label(latency.contender.as_str());
        series.legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(3)));
    }
    let mut legend = chart.configure_series_labels();
    legend.position(SeriesLabelPosition::LowerRight).margin(12).border_style(RULE).background_style(WHITE);
    legend.label_font((FONT, 14)).draw().map_err(io::Error::other)
}

fn titled<'a>(root: &Area<'a>, title: &str) -> io::Result<Area<'a>> {
    root.fill(&WHITE).map_err(io::Error::other)?;
    root.titled(title, (FONT, 20)).map_err(io::Error::other)
}

fn figure(value: f64) -> String {
    if value < 10.0 { format!("{value:.2}") } else { format!("{value:.1}") }
}

fn pixels(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Colours that people with colour blindness can tell apart (Okabe and Ito).
fn color(contender: &str) -> RGBColor {
    match contender {
        "backsoon" | "1 worker" => RGBColor(0, 114, 178),
        "2 workers" => RGBColor(86, 180, 233),
        "nginx" => RGBColor(0, 158, 115),
        "haproxy" => RGBColor(230, 159, 0),
        "floor" => RGBColor(130, 130, 130),
        _ => RGBColor(60, 60, 60),
    }
}

const FONT: &str = "sans-serif";
const AXIS: RGBColor = RGBColor(60, 60, 60);
const RULE: RGBColor = RGBColor(220, 220, 220);
const COLUMNS: usize = 3;
const PANEL: (u32, u32) = (420, 300);
const LATENCY: (u32, u32) = (900, 420);
const TITLE: u32 = 34;
