//! Structures that the kernel reads byte by byte. It refuses calls whose unused bytes are not zero, and the compiler leaves
//! padding as it finds it: so there may be none that has no name.

/// A value without padding that the compiler chooses.
///
/// [`for_kernel`] implements it after it has checked that; implement it for nothing else.
pub(crate) trait ForKernel {}

impl<const N: usize> ForKernel for [u32; N] {}

/// Defines a structure with the C layout, and fails to compile where the sizes of its fields are not the size of the whole.
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
