//! Parquet of every width and codec, and CSV, are the same table.

mod common;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, Float32Array, Float64Array, Int8Array, Int64Array, StringArray, UInt32Array};
use arrow::record_batch::RecordBatch;
use cobre_core::ErrorKind;
use cobre_hydro::Case;
use common::CaseFiles;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

fn write(path: &Path, columns: Vec<(&str, ArrayRef)>, codec: Compression) {
    let batch =
        RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, c)| (n, c, true))).unwrap();
    let properties = WriterProperties::builder().set_compression(codec).build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// Rows of `thermal_bounds`: the cost of thermal 1 at stage 2 becomes 7.
fn bounds(ids: ArrayRef, stages: ArrayRef, costs: ArrayRef) -> Vec<(&'static str, ArrayRef)> {
    let limits = Arc::new(Float64Array::from(vec![None::<f64>]));
    vec![("thermal_id", ids), ("stage_id", stages), ("min_generation_mw", limits), ("cost_per_mwh", costs)]
}

#[test]
fn widths_and_codecs_do_not_matter() {
    let mut csv = CaseFiles::new();
    csv.text(
        "constraints/thermal_bounds.csv",
        "stage_id,thermal_id,cost_per_mwh,min_generation_mw\r\n2,1,7.0,\r\n",
    );
    let expected = format!("{:?}", csv.model().problem);
    let case = CaseFiles::new();
    let tables = [
        bounds(
            Arc::new(Int8Array::from(vec![1])),
            Arc::new(Int64Array::from(vec![2])),
            Arc::new(Float32Array::from(vec![7.0])),
        ),
        bounds(
            Arc::new(UInt32Array::from(vec![1])),
            Arc::new(Int8Array::from(vec![2])),
            Arc::new(Int64Array::from(vec![7])),
        ),
    ];
    let codecs = [Compression::UNCOMPRESSED, Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())];
    for table in tables {
        for codec in codecs {
            let root = case.write();
            std::fs::create_dir_all(root.join("constraints")).unwrap();
            write(&root.join("constraints/thermal_bounds.parquet"), table.clone(), codec);
            let case = Case::load(&root, None).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(format!("{:?}", case.model().unwrap().problem), expected);
        }
    }
}

#[test]
fn a_column_of_texts_is_no_column_of_ids() {
    let case = CaseFiles::new();
    let root = case.write();
    std::fs::create_dir_all(root.join("constraints")).unwrap();
    let path = root.join("constraints/thermal_bounds.parquet");
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["1"]));
    let table = bounds(texts, Arc::new(Int8Array::from(vec![2])), Arc::new(Float32Array::from(vec![7.0])));
    write(&path, table, Compression::UNCOMPRESSED);
    let error = Case::load(&root, None).unwrap_err();
    assert_eq!(error.problems().len(), 1);
    assert_eq!(error.kind(), ErrorKind::TypeMismatch);
    std::fs::write(&path, "no parquet").unwrap();
    assert_eq!(Case::load(&root, None).unwrap_err().kind(), ErrorKind::ParseError);
}

#[test]
fn a_table_stands_there_once() {
    let mut case = CaseFiles::new();
    case.text("scenarios/load_seasonal_stats.parquet", "");
    let kinds: Vec<ErrorKind> = case.problems().iter().map(|problem| problem.kind).collect();
    assert_eq!(kinds, [ErrorKind::IncompatibleSettings, ErrorKind::ParseError]);
}
