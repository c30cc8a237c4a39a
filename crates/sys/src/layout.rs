//! Structures that the kernel reads byte by byte. The kernel refuses calls whose unused bytes are not zero,
//! and the compiler leaves padding uninitialized. Therefore all padding must be named fields.

/// A value without implicit padding.
///
/// [`for_kernel`] implements this trait after it has checked that; no other code may implement it.
pub(crate) trait ForKernel {}

impl<const N: usize> ForKernel for [u32; N] {}

/// Defines a structure with the C layout. Compilation fails if the sizes of its fields do not add up to the
/// size of the structure.
macro_rules! for_kernel {
    ($(#[$attribute:meta])* $visibility:vis struct $name:ident {
        $($(#[$field_attribute:meta])* $field_visibility:vis $field:ident: $type:ty,)*
    }) => {
        #[repr(C)]
        $(#[$attribute])*
        $visibility struct $name {
            $($(#[$field_attribute])* $field_visibility $field: $type,)*
        }

        const _: () = assert!(
            size_of::<$name>() == 0 $(+ size_of::<$type>())*,
            "there is padding without a name"
        );

        impl $crate::layout::ForKernel for $name {}
    };
}

pub(crate) use for_kernel;
