//! What can be sent, and how it is reduced.

use crate::CommError;

/// How [`Communicator::allreduce`](crate::Communicator::allreduce) combines the ranks' values.
///
/// The result is the fold from rank 0's value in rank order, on every backend. Integer sums wrap. Minimum and
/// maximum of floats are those of IEEE 754-2019: NaN propagates (as the canonical NaN) and −0 < +0, so that they
/// do not depend on the order; a sum that is NaN is the canonical NaN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReduceOp {
    /// Sum.
    Sum,
    /// Minimum.
    Min,
    /// Maximum.
    Max,
    /// Bitwise or; integers only.
    BitwiseOr,
}

mod sealed {
    pub trait Sealed {}
}

/// The element types of collectives: `f32 f64 i32 i64 u8 u32 u64`. Records travel as `u8`.
///
/// Sealed: a type that has padding or pointers must never reach another process.
pub trait CommData: sealed::Sealed + bytemuck::Pod + Send + Sync + 'static {
    /// Number of the type in message headers.
    const TAG: u8;

    /// Whether the type can be combined by the operation.
    ///
    /// # Errors
    /// [`CommError::CollectiveFailed`] for [`ReduceOp::BitwiseOr`] on floats.
    fn check(op: ReduceOp) -> Result<(), CommError>;

    /// `accumulator[i] = accumulator[i] op source[i]` for an operation that [`check`](Self::check) allows.
    fn fold(op: ReduceOp, accumulator: &mut [Self], source: &[Self]);
}

fn fold_with<T: Copy>(accumulator: &mut [T], source: &[T], combine: impl Fn(T, T) -> T) {
    for (left, &right) in accumulator.iter_mut().zip(source) {
        *left = combine(*left, right);
    }
}

macro_rules! integer {
    ($type:ty, $tag:expr) => {
        impl sealed::Sealed for $type {}
        impl CommData for $type {
            const TAG: u8 = $tag;

            fn check(_: ReduceOp) -> Result<(), CommError> {
                Ok(())
            }

            fn fold(op: ReduceOp, accumulator: &mut [Self], source: &[Self]) {
                match op {
                    ReduceOp::Sum => fold_with(accumulator, source, <$type>::wrapping_add),
                    ReduceOp::Min => fold_with(accumulator, source, <$type>::min),
                    ReduceOp::Max => fold_with(accumulator, source, <$type>::max),
                    ReduceOp::BitwiseOr => fold_with(accumulator, source, |left, right| left | right),
                }
            }
        }
    };
}

macro_rules! float {
    ($type:ty, $tag:expr) => {
        impl sealed::Sealed for $type {}
        impl CommData for $type {
            const TAG: u8 = $tag;

            fn check(op: ReduceOp) -> Result<(), CommError> {
                if op == ReduceOp::BitwiseOr {
                    return Err(CommError::CollectiveFailed {
                        operation: "allreduce",
                        mpi_error_code: 0,
                        message: "bitwise or is not defined for floating-point values".into(),
                    });
                }
                Ok(())
            }

            fn fold(op: ReduceOp, accumulator: &mut [Self], source: &[Self]) {
                let canonical = |value: $type| if value.is_nan() { <$type>::NAN } else { value };
                let ordered = |left: $type, right: $type, want_left: bool| {
                    if left.is_nan() || right.is_nan() {
                        <$type>::NAN
                    } else if want_left {
                        left
                    } else {
                        right
                    }
                };
                match op {
                    ReduceOp::Sum => fold_with(accumulator, source, |left, right| canonical(left + right)),
                    // `total_cmp` puts −0 below +0, which `<` does not.
                    ReduceOp::Min => fold_with(accumulator, source, |left, right| {
                        ordered(left, right, left.total_cmp(&right).is_le())
                    }),
                    ReduceOp::Max => fold_with(accumulator, source, |left, right| {
                        ordered(left, right, left.total_cmp(&right).is_ge())
                    }),
                    ReduceOp::BitwiseOr => unreachable!("refused by check"),
                }
            }
        }
    };
}

float!(f32, 0);
float!(f64, 1);
integer!(i32, 2);
integer!(i64, 3);
integer!(u8, 4);
integer!(u32, 5);
integer!(u64, 6);

#[cfg(test)]
mod tests {
    use super::*;

    fn reduce<T: CommData>(op: ReduceOp, values: &[T]) -> T {
        let mut accumulator = [values[0]];
        for value in &values[1..] {
            T::fold(op, &mut accumulator, &[*value]);
        }
        accumulator[0]
    }

    #[test]
    fn floats_at_the_edges() {
        for values in [[-0.0f64, 0.0], [0.0, -0.0]] {
            assert!(reduce(ReduceOp::Min, &values).is_sign_negative());
            assert!(reduce(ReduceOp::Max, &values).is_sign_positive());
        }
        for values in [[f64::NAN, 1.0, 2.0], [1.0, f64::NAN, 2.0], [1.0, 2.0, -f64::NAN]] {
            for op in [ReduceOp::Min, ReduceOp::Max, ReduceOp::Sum] {
                assert_eq!(reduce(op, &values).to_bits(), f64::NAN.to_bits());
            }
        }
        assert_eq!(reduce(ReduceOp::Sum, &[f64::INFINITY, f64::NEG_INFINITY]).to_bits(), f64::NAN.to_bits());
        assert_eq!(reduce(ReduceOp::Min, &[f32::MIN_POSITIVE / 2.0, 0.0]), 0.0);
        assert!(f64::check(ReduceOp::BitwiseOr).is_err());
    }

    #[test]
    fn integers_wrap() {
        assert_eq!(reduce(ReduceOp::Sum, &[i32::MAX, 1]), i32::MIN);
        assert_eq!(reduce(ReduceOp::Sum, &[u8::MAX, 2]), 1);
        assert_eq!(reduce(ReduceOp::BitwiseOr, &[0b01u64, 0b10]), 0b11);
        assert_eq!(reduce(ReduceOp::Min, &[3i64, -4]), -4);
    }
}
